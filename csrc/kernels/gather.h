// Rows of arrays, taken from or put where indices say.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale {

struct Indices {
    const void* data;
    bool wide;  // int64, else int32
    size_t count;
};

// From rows of one array to rows of another that is elsewhere in memory. Strides are in bytes and may be
// anything, also 0 or negative, as long as no two rows of `to` overlap.
struct Move {
    const char* from;
    int64_t from_stride;
    char* to;
    int64_t to_stride;
    size_t bytes;  // of a row
};

// The position of the first index that is not from 0 to rows - 1; their count, where there is none.
size_t first_outside(const Indices& indices, int64_t rows, int num_threads);

// Outputs from so many bytes on are written past the caches, where they would not stay.
size_t streamed_from();

// Row i of each `to` becomes row indices[i] of its `from`. All indices must have been checked.
void gather(const Move* moves, size_t count, const Indices& indices, int num_threads,
            size_t streamed = streamed_from());

// Row indices[i] of `to`, which has so many rows, becomes row i of `from`: of those with one index, the last,
// with any number of threads. All indices must have been checked.
void scatter(const Move& move, int64_t rows, const Indices& indices, int num_threads);

}  // namespace pyscale
