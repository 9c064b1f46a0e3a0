#include "kernels/dense/packed.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "core/errors.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyscale::dense {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

uint32_t bfloat16_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (std::isnan(value)) return 0x7fc0;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace

void FreePages::operator()(void* p) const { std::free(p); }

Pages allocate_pages(size_t bytes) {
    const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
    const size_t rounded = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
    void* const p = std::aligned_alloc(alignment, rounded);
    if (p == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) static_cast<void>(madvise(p, rounded, MADV_HUGEPAGE));
#endif
    return Pages(p);
}

Packed::Packed(const float* weights, size_t inputs, size_t outputs, WeightType type)
    : inputs_(inputs), outputs_(outputs), type_(type) {
    if (type == WeightType::int8) throw_expected("type", "float32 or bfloat16", "int8");
    const size_t narrow = has_narrow_panel() ? kPanel / 2 : 0;
    const size_t words = type == WeightType::float32 ? whole_panels() * kPanel + narrow
                                                     : (whole_panels() * kPanel) / 2 + narrow;
    bytes_ = words * inputs * sizeof(uint32_t);
    data_ = allocate_pages(bytes_);
    auto* to = static_cast<uint32_t*>(data_.get());
    const auto at = [&](size_t output, size_t input) {
        return output < outputs ? weights[output * inputs + input] : 0.0f;
    };
    for (size_t first = 0; first < outputs; first += kPanel) {
        const bool is_narrow = outputs - first <= kPanel / 2;
        for (size_t k = 0; k < inputs; ++k) {
            if (type == WeightType::float32) {
                const size_t width = is_narrow ? kPanel / 2 : kPanel;
                for (size_t j = 0; j < width; ++j) {
                    const float value = at(first + j, k);
                    std::memcpy(to++, &value, sizeof value);
                }
            } else {
                for (size_t j = 0; j < kPanel / 2; ++j) {
                    const uint32_t upper = bfloat16_bits(at(first + j + kPanel / 2, k));
                    *to++ = bfloat16_bits(at(first + j, k)) | upper << 16;
                }
            }
        }
    }
}

Packed::Packed(const int8_t* weights, const float* scales, size_t inputs, size_t outputs,
               const Levels& levels)
    : inputs_(inputs), outputs_(outputs), type_(WeightType::int8), levels_(levels) {
    constexpr size_t kMostInputs = 65536;  // sums of so many stay below 2^31
    if (inputs > kMostInputs) {
        throw_expected("linear", "at most 65536 inputs of int8", std::to_string(inputs));
    }
    const size_t groups = (inputs + 3) / 4;
    const size_t width = whole_panels() * kPanel + (has_narrow_panel() ? kPanel / 2 : 0);
    bytes_ = width * groups * 4;
    data_ = allocate_pages(bytes_);
    auto* const to = static_cast<int8_t*>(data_.get());
    std::memset(to, 0, bytes_);
    scales_.assign(width, 0.0f);
    std::copy(scales, scales + outputs, scales_.begin());
    corrections_.assign(width, 0);
    for (size_t o = 0; o < outputs; ++o) {
        const int8_t* const from = weights + o * inputs;
        const size_t panel = o / kPanel;
        const size_t row = panel < whole_panels() ? kPanel * 4 : kPanel * 2;
        int32_t sum = 0;
        for (size_t k = 0; k < inputs; ++k) {
            to[panel * groups * kPanel * 4 + k / 4 * row + o % kPanel * 4 + k % 4] = from[k];
            sum += from[k];
        }
        corrections_[o] = levels.zero * sum;
    }
}

}  // namespace pyscale::dense
