#include "kernels/embedding/embedding.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "core/errors.h"
#include "core/parallel.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pyscale {
namespace {

// What one bag is reduced from and to.
struct Bag {
    const char* table;
    size_t row_bytes, width;
    const void* indices;
    const float* weights;
    int64_t padding;
    size_t last;        // indices of all bags
    size_t begin, end;  // of this one's
    float* out;
};

}  // namespace
}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/embedding/reduce.inc"
#include "core/for_each_isa.h"

namespace pyscale::embedding {

namespace {

constexpr double kWorthATeam = 1e6;  // bytes of rows from which a second thread helps
constexpr size_t kParts = 8;         // of a thread, since bags differ

}  // namespace

Table::Table(const void* rows, size_t count, size_t width, DType dtype)
    : count_(count), width_(width), dtype_(dtype) {
    if (dtype != DType::float32 && dtype != DType::float16 && dtype != DType::bfloat16) {
        throw_expected("table", "float32, float16 or bfloat16", name(dtype));
    }
    if (count == 0 || width == 0) {
        throw_expected("table", "1 row of 1 column or more",
                       std::to_string(count) + " x " + std::to_string(width));
    }
    rows_ = dense::allocate_pages(bytes());
    std::memcpy(rows_.get(), rows, bytes());
}

void Table::reduce(const Bags& bags, Mode mode, float* out, int num_threads) const {
    Bag bag{};
    bag.table = static_cast<const char*>(rows_.get());
    bag.row_bytes = width_ * itemsize(dtype_);
    bag.width = width_;
    bag.indices = bags.indices.data;
    bag.weights = bags.weights;
    bag.padding = bags.padding;
    bag.last = bags.indices.count;
    const auto work =
        static_cast<double>(bags.indices.count + bags.count) * static_cast<double>(bag.row_bytes);
    if (work < kWorthATeam) num_threads = 1;
    const size_t parts = num_threads > 1 ? static_cast<size_t>(num_threads) * kParts : 1;
    parallel_for(bags.count, (bags.count + parts - 1) / parts, num_threads, [&](size_t begin, size_t end) {
        Bag here = bag;
        here.out = out + begin * width_;
        PYSCALE_PICK_ISA(reduce_table)(bags, mode, dtype_, here, begin, end);
    });
}

}  // namespace pyscale::embedding
