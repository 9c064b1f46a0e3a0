#include "kernels/collect.h"

#include <cstring>

namespace pyscale {

namespace {

template <size_t kBytes>
void copy_row(const char* from, int64_t stride, size_t columns, char* to) {
    for (size_t k = 0; k < columns; ++k, from += stride, to += kBytes) std::memcpy(to, from, kBytes);
}

void copy_row_of(size_t bytes, const char* from, int64_t stride, size_t columns, char* to) {
    switch (bytes) {
        case 4: return copy_row<4>(from, stride, columns, to);
        case 8: return copy_row<8>(from, stride, columns, to);
        default:
            for (size_t k = 0; k < columns; ++k, from += stride, to += bytes) std::memcpy(to, from, bytes);
    }
}

}  // namespace

void collect(const Piece* pieces, size_t count, size_t columns, size_t bytes, char* out) {
    const size_t row_bytes = columns * bytes;
    if (row_bytes == 0) return;
    for (const Piece* piece = pieces; piece != pieces + count; ++piece) {
        const bool dense = columns == 1 || piece->column_stride == static_cast<int64_t>(bytes);
        if (dense && (piece->rows <= 1 || piece->row_stride == static_cast<int64_t>(row_bytes))) {
            const size_t all = piece->rows * row_bytes;
            if (all > 0) std::memcpy(out, piece->data, all);
            out += all;
            continue;
        }
        const char* row = piece->data;
        for (size_t r = 0; r < piece->rows; ++r, row += piece->row_stride, out += row_bytes) {
            if (dense) {
                std::memcpy(out, row, row_bytes);
            } else {
                copy_row_of(bytes, row, piece->column_stride, columns, out);
            }
        }
    }
}

}  // namespace pyscale
