#include "kernels/permute.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/half.h"
#include "core/mix.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own intrinsics
#endif
#define PYSCALE_ISA_INC "kernels/permute.inc"
#include "core/for_each_isa.h"

namespace pyscale {

namespace {

uint64_t ceil_sqrt(uint64_t n) {
    auto root = static_cast<uint64_t>(std::sqrt(static_cast<double>(n)));
    while (root * root < n) ++root;
    while (root > 0 && (root - 1) * (root - 1) >= n) --root;
    return root;
}

}  // namespace

Permutation::Permutation(uint64_t n, uint64_t seed, uint64_t epoch, uint64_t stream) : n_(n) {
    if (n > INT64_MAX) {
        throw std::invalid_argument("Permutation: expected n up to 2^63 - 1, got " + std::to_string(n));
    }
    Numbers keys(combine({seed, epoch, stream, n}, kPermutationVersion));
    if (n <= kLargestTable) {
        table_.resize(n);
        std::iota(table_.begin(), table_.end(), 0);
        for (uint64_t i = n; i > 1; --i) std::swap(table_[i - 1], table_[keys.below(i)]);
        inverse_.resize(n);
        for (uint64_t i = 0; i < n; ++i) inverse_[table_[i]] = static_cast<uint32_t>(i);
        return;
    }
    network_.n = n;
    network_.a = ceil_sqrt(n);
    network_.b = (n + network_.a - 1) / network_.a;
    for (Round& round : network_.rounds) {
        round.addend = keys.next();
        const uint64_t more = keys.next();
        round.multiplier = static_cast<uint32_t>(more) | 1;
        round.flip = static_cast<uint32_t>(more >> 32) | 1;  // a multiplier too, where lanes are narrow
    }
}

void Permutation::indices(uint64_t start, size_t count, int64_t* out, uint64_t step) const {
    if (n_ <= kLargestTable) {
        for (size_t i = 0; i < count; ++i) out[i] = table_[start + i * step];
    } else if (n_ <= kLargestNarrow) {
        PYSCALE_PICK_ISA(permute_strided_narrow)(network_, start, step, count, out);
    } else {
        PYSCALE_PICK_ISA(permute_strided_wide)(network_, start, step, count, out);
    }
}

void Permutation::at(const int64_t* positions, size_t count, int64_t* out) const {
    if (n_ <= kLargestTable) {
        for (size_t i = 0; i < count; ++i) out[i] = table_[static_cast<size_t>(positions[i])];
    } else if (n_ <= kLargestNarrow) {
        PYSCALE_PICK_ISA(permute_listed_narrow)(network_, positions, count, out);
    } else {
        PYSCALE_PICK_ISA(permute_listed_wide)(network_, positions, count, out);
    }
}

void Permutation::inverse(const int64_t* values, size_t count, int64_t* out) const {
    if (n_ <= kLargestTable) {
        for (size_t i = 0; i < count; ++i) out[i] = inverse_[static_cast<size_t>(values[i])];
    } else if (n_ <= kLargestNarrow) {
        PYSCALE_PICK_ISA(invert_narrow)(network_, values, count, out);
    } else {
        PYSCALE_PICK_ISA(invert_wide)(network_, values, count, out);
    }
}

}  // namespace pyscale
