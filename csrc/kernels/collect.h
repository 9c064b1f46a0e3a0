// Rows of many small arrays, one below the other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale {

// Rows x columns of elements, anywhere in memory; strides in bytes.
struct Piece {
    const char* data;
    size_t rows;
    int64_t row_stride, column_stride;
};

// Copies the pieces to `out`, whose rows have no gaps: `columns` elements of `bytes` each.
void collect(const Piece* pieces, size_t count, size_t columns, size_t bytes, char* out);

}  // namespace pyscale
