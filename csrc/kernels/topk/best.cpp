#include "kernels/topk/best.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <type_traits>

#include "core/dtype.h"
#include "core/half.h"

#define PYSCALE_ISA_INC "kernels/topk/best.inc"
#include "core/for_each_isa.h"

namespace pyscale::topk {

namespace {

constexpr uint32_t kSign = 0x80000000;

}  // namespace

uint64_t key_of(float value, uint32_t row) {
    const uint32_t bits = float_bits(value + 0.0f);  // -0 becomes 0
    const uint32_t ordered = bits >= kSign ? ~bits : bits | kSign;
    return uint64_t{value != value ? 0 : ordered} << 32 | ~row;
}

float value_of(uint64_t key) {
    const auto ordered = static_cast<uint32_t>(key >> 32);
    if (ordered == 0) return std::numeric_limits<float>::quiet_NaN();
    return float_from_bits(ordered >= kSign ? ordered ^ kSign : ~ordered);
}

Best::Best(uint64_t* room_for_keys, size_t count)
    : keys(room_for_keys), k(count), threshold(std::numeric_limits<float>::quiet_NaN()) {}

void Best::shrink() {
    if (size < k) return;
    std::nth_element(keys, keys + (k - 1), keys + size, std::greater<>());
    size = k;
    threshold = value_of(keys[k - 1]);
}

size_t Best::finish() {
    if (size > k) shrink();
    std::sort(keys, keys + size, std::greater<>());
    return size;
}

void add_products(const float* products, size_t count, size_t first, Best& best) {
    PYSCALE_PICK_ISA(add_products_isa)(products, count, first, best);
}

void add_distances(const float* distances, size_t count, size_t first, Best& best) {
    PYSCALE_PICK_ISA(add_distances_isa)(distances, count, first, best);
}

}  // namespace pyscale::topk
