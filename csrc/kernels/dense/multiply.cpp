#include "kernels/dense/multiply.h"

#include <algorithm>
#include <type_traits>

#include "core/dtype.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pyscale {
namespace {

// What goes through a block of the inputs of a panel.
struct Block {
    const float* x;
    size_t ldx;
    const char* weights;           // of the first of these panels, from the first of these inputs on
    size_t panel_bytes;            // from panel to panel
    size_t depth;                  // inputs
    const float* bias;             // null: y has the sum so far
    dense::Activation activation;  // identity, unless these are the last inputs
    float parameter;
    float* y;
    size_t ldy;
};

}  // namespace
}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/dense/multiply.inc"
#include "core/for_each_isa.h"

namespace pyscale::dense {

void multiply(const Packed& weights, size_t first, size_t count, const float* bias, const float* x,
              size_t ldx, size_t rows, Activation activation, float parameter, float* y, size_t ldy) {
    PYSCALE_PICK_ISA(multiply_rows)
    (weights, first, count, false, bias, x, ldx, rows, activation, parameter, y, ldy);
}

void add_squares(const Packed& weights, size_t first, size_t count, const float* bias, const float* x,
                 size_t ldx, size_t rows, float* y, size_t ldy) {
    PYSCALE_PICK_ISA(multiply_rows)
    (weights, first, count, true, bias, x, ldx, rows, Activation::identity, 0, y, ldy);
}

}  // namespace pyscale::dense
