// A linear layer of bytes: inputs and weights are rounded to 256 levels at most, products are summed in
// whole numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense/functions.h"
#include "kernels/dense/packed.h"

namespace pyscale::dense {

// Bytes of a row of inputs.
inline size_t int8_stride(size_t inputs) { return (inputs + 63) / 64 * 64 + 64; }

// Bytes of rows of inputs, by the levels given. Where these have no scale, of each row of x:
// bytes[i] = 128 + round(x[i] * 127 / largest |x|), and scale = largest |x| / 127; beyond
// the last input 128. A row that has an infinity or NaN gets the scale NaN; one whose numbers are below
// 2^-100 is 0. Where they have one, it is each row's, but NaN for a row that has NaN; infinities are the
// largest or the smallest byte, as are all numbers that are out of range.
void quantize(const Levels& levels, const float* x, size_t ldx, size_t rows, size_t inputs, uint8_t* bytes,
              float* scales);

// Where the outputs go: as numbers to y, with room as for multiply(); or, if `levels` are given, as bytes to
// the inputs of the layer that has these levels.
struct ByteOutput {
    float* y;
    size_t ldy;
    const Levels* levels;
    uint8_t* bytes;
};

// Of the outputs of `count` panels from panel `first` on, with which bias and out begin:
// out[row][output] = f(sum * (scale of the row * scale of the output) + bias[output]), where sum is of whole
// numbers and exact: at any ISA level the same. As bytes, NaN is the smallest.
void multiply_int8(const Packed& weights, size_t first, size_t count, const float* bias, const uint8_t* x,
                   const float* scales, size_t rows, Activation activation, float parameter,
                   const ByteOutput& out);

}  // namespace pyscale::dense
