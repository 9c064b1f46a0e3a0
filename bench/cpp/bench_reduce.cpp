// Rates of reduce() on one core: bytes read and written per second, medians. Built by hand:
//
//     g++ -std=c++17 -O3 -ffp-contract=off -Icsrc bench/cpp/bench_reduce.cpp csrc/kernels/reduce.cpp csrc/core/*.cpp
//
// Arguments: bytes of one array, ISA level, out-of-place (any third argument). Defaults: 32768, the best, in place.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/isa.h"
#include "kernels/reduce.h"

using namespace pyscale;

namespace {

constexpr size_t kPage = 4096;

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The median time of one call.
template <class F>
double median_time(F&& f) {
    f();
    const double start = seconds();
    f();
    const int calls = std::max(1, static_cast<int>(5e-4 / std::max(seconds() - start, 1e-9)));
    std::vector<double> times;
    for (int repeat = 0; repeat < 41; ++repeat) {
        const double begin = seconds();
        for (int call = 0; call < calls; ++call) {
            f();
        }
        times.push_back((seconds() - begin) / calls);
    }
    std::nth_element(times.begin(), times.begin() + 20, times.end());
    return times[20];
}

}  // namespace

int main(int argc, char** argv) {
    const size_t bytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 32768;
    for (Isa level : available_isas()) {
        if (argc > 2 && std::strcmp(argv[2], name(level)) == 0) {
            set_isa(level);
        }
    }
    const bool in_place = argc <= 3;
    std::printf("%s, arrays of %zu bytes, %s\n", name(isa()), bytes, in_place ? "in place" : "out of place");
    std::printf("%-9s %-5s %4s %4s %10s %8s\n", "dtype", "op", "nsrc", "ndst", "us", "GB/s");
    // Page-aligned, as the arrays of a shared-memory collective are.
    const size_t stride = (bytes + kPage - 1) / kPage * kPage;
    char* memory = static_cast<char*>(std::aligned_alloc(kPage, 16 * stride));
    std::memset(memory, 0, 16 * stride);
    for (Op op : {Op::sum, Op::mean, Op::max}) {
        for (DType dtype : {DType::float32, DType::bfloat16, DType::float16, DType::float64, DType::int32}) {
            if (!reducible(dtype, op)) {
                continue;
            }
            for (int nsrc : {2, 4, 8}) {
                for (int ndst : {1, nsrc}) {
                    std::vector<const void*> src;
                    std::vector<void*> dst;
                    for (int s = 0; s < nsrc; ++s) {
                        src.push_back(memory + s * stride);
                        dst.push_back(memory + (in_place ? s : 8 + s) * stride);
                    }
                    const double time = median_time([&] {
                        reduce(dtype, dtype, op, src.data(), nsrc, dst.data(), ndst, bytes / itemsize(dtype), nsrc);
                    });
                    std::printf("%-9s %-5s %4d %4d %10.2f %8.1f\n", name(dtype), name(op), nsrc, ndst, time * 1e6,
                                static_cast<double>(bytes) * (nsrc + ndst) / time / 1e9);
                }
            }
        }
    }
    std::free(memory);
}
