// A linear layer of bytes: inputs and weights are rounded to 255 levels, products are summed in whole
// numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense/functions.h"
#include "kernels/dense/packed.h"

namespace pyscale::dense {

// Bytes of a row of inputs.
inline size_t int8_stride(size_t inputs) { return (inputs + 63) / 64 * 64 + 64; }

// Of each row of x: bytes[i] = 128 + round(x[i] * 127 / largest |x|), and scale = largest |x| / 127; beyond
// the last input 128. A row that has an infinity or NaN gets the scale NaN; one whose numbers are below
// 2^-100 is 0.
void quantize(const float* x, size_t ldx, size_t rows, size_t inputs, uint8_t* bytes, float* scales);

// y[row][output] = f(sum * (scale of the row * scale of the output) + bias[output]), where sum is of whole
// numbers and exact: at any ISA level the same. Room as for multiply().
void multiply_int8(const Packed& weights, const float* bias, const uint8_t* x, const float* scales,
                   size_t rows, Activation activation, float parameter, float* y, size_t ldy);

}  // namespace pyscale::dense
