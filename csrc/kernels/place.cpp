#include "kernels/place.h"

#include <cstring>

namespace pyscale {

namespace {

// kBytes: of a row, known to the compiler; 0: not. kListed: the rows have a list.
template <size_t kBytes, bool kListed>
void place_rows(const Move& move, const uint32_t* from, const uint32_t* to, size_t rows) {
    const size_t bytes = kBytes ? kBytes : move.bytes;
    const Move local = move;  // which what is written cannot be a part of
    for (size_t i = 0; i < rows; ++i) {
        const size_t row = kListed ? from[i] : i;
        std::memcpy(local.to + to[i] * local.to_stride,
                    local.from + static_cast<int64_t>(row) * local.from_stride, bytes);
    }
}

template <size_t kBytes>
void place_rows(const Move& move, const uint32_t* from, const uint32_t* to, size_t rows) {
    if (from) {
        place_rows<kBytes, true>(move, from, to, rows);
    } else {
        place_rows<kBytes, false>(move, from, to, rows);
    }
}

}  // namespace

void place(const Move* moves, size_t count, const uint32_t* from, const uint32_t* to, size_t rows) {
    for (size_t k = 0; k < count; ++k) {
        switch (moves[k].bytes) {
            case 0: break;
            case 1: place_rows<1>(moves[k], from, to, rows); break;
            case 2: place_rows<2>(moves[k], from, to, rows); break;
            case 4: place_rows<4>(moves[k], from, to, rows); break;
            case 8: place_rows<8>(moves[k], from, to, rows); break;
            case 16: place_rows<16>(moves[k], from, to, rows); break;
            default: place_rows<0>(moves[k], from, to, rows);
        }
    }
}

}  // namespace pyscale
