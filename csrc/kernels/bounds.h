// Whether indices are those of an array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace pyscale {

// Which of the indices is the first that is not from 0 to n - 1; count where none is. n is up to 2^63.
inline size_t first_outside(const int64_t* indices, size_t count, uint64_t n) {
    const auto is_outside = [n](int64_t index) { return static_cast<uint64_t>(index) >= n; };
    constexpr size_t kBlock = 1024;
    for (size_t begin = 0; begin < count; begin += kBlock) {
        const size_t end = std::min(count, begin + kBlock);
        uint64_t signs = 0;  // of x and of n - 1 - x: quicker than comparing, which not all machines have
        for (size_t i = begin; i < end; ++i) {
            const auto x = static_cast<uint64_t>(indices[i]);
            signs |= x | (n - 1 - x);
        }
        if (signs >> 63 != 0) {
            return static_cast<size_t>(std::find_if(indices + begin, indices + end, is_outside) - indices);
        }
    }
    return count;
}

}  // namespace pyscale
