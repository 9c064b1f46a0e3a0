// The memory traffic of a two-rank float32 all-reduce and nothing else, for each size in bytes given: each of two processes reads its
// half of both inputs and writes the sums to both outputs. Prints a line for each size: bytes, seconds in place, seconds out of place.
#include "processes.h"

static void add(const float* a, const float* b, float* c, float* d, size_t n) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
        const float sum = a[i] + b[i];
        c[i] = sum;
        d[i] = sum;
    }
}

static double time_passes(float* const* arrays, Line* arrived, size_t n, bool in_place) {
    constexpr int batches = 11;
    const int passes = static_cast<int>(std::max<size_t>(4, (64 << 20) / (n * sizeof(float))));
    // The two time each batch apart; the slower of them is its time, as in the all-reduce.
    double* seconds = static_cast<double*>(shared_memory(2 * batches * sizeof(double)));
    in_processes(2, [&](int rank) {
        const size_t begin = rank == 0 ? 0 : n / 2, length = rank == 0 ? n / 2 : n - n / 2;
        const float *a = arrays[0] + begin, *b = arrays[1] + begin;
        float *c = arrays[in_place ? 0 : 2] + begin, *d = arrays[in_place ? 1 : 3] + begin;
        add(a, b, c, d, length);
        const uint64_t base = arrived[2].value.load();
        for (int batch = 0; batch < batches; ++batch) {
            arrived[rank].value.store(base + batch + 1);
            while (arrived[1 - rank].value.load() < base + batch + 1) relax();
            const double start = now();
            for (int pass = 0; pass < passes; ++pass) {
                add(a, b, c, d, length);
                asm volatile("" ::: "memory");  // each pass writes again
            }
            seconds[rank * batches + batch] = (now() - start) / passes;
        }
    });
    arrived[2].value.fetch_add(batches);
    std::vector<double> slower;
    for (int batch = 0; batch < batches; ++batch)
        slower.push_back(std::max(seconds[batch], seconds[batches + batch]));
    munmap(seconds, 2 * batches * sizeof(double));
    return median(slower);
}

int main(int argc, char** argv) {
    Line* arrived = static_cast<Line*>(shared_memory(3 * sizeof(Line)));
    for (int i = 1; i < argc; ++i) {
        const size_t bytes = std::strtoull(argv[i], nullptr, 10);
        float* arrays[4];
        for (float*& array : arrays) array = static_cast<float*>(shared_memory(bytes));
        const size_t n = bytes / sizeof(float);
        std::printf("%zu %.9g %.9g\n", bytes, time_passes(arrays, arrived, n, true), time_passes(arrays, arrived, n, false));
        std::fflush(stdout);
        for (float* array : arrays) munmap(array, bytes);
    }
}
