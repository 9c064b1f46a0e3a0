// A linear layer for some rows: y = f(x W + b).
#pragma once

#include <cstddef>

#include "kernels/dense/functions.h"
#include "kernels/dense/packed.h"

namespace pyscale::dense {

// y[row][output] = f(bias[output] + sum over k of x[row][k] * weight[k][output]), of the outputs of `count`
// panels from panel `first` on; bias and y begin with theirs.
//
// The sum begins with the bias; the products are added one after the other in the order of k, each by a fused
// multiply-add with one rounding. No sum is split, and none shares a lane with another: so its bits depend on
// its row and its weights alone, not on the ISA level or on the rows beside it.
//
// bias, and each row of y, have room for outputs rounded up to whole blocks of 16 floats: y is written so
// far. ldx and ldy are the floats from one row to the next.
void multiply(const Packed& weights, size_t first, size_t count, const float* bias, const float* x,
              size_t ldx, size_t rows, Activation activation, float parameter, float* y, size_t ldy);

// The same with (x[row][k] - weight[k][output])^2 in place of the product, of weights of float32; no
// activation.
void add_squares(const Packed& weights, size_t first, size_t count, const float* bias, const float* x,
                 size_t ldx, size_t rows, float* y, size_t ldy);

}  // namespace pyscale::dense
