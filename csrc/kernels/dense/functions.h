// Activation functions on arrays of float32, with the same bits at any ISA level: they are computed in
// float64, without fused operations, and rounded once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale::dense {

enum class Activation : uint8_t {
    identity,
    relu,        // x where x > 0, else 0; NaN stays
    leaky_relu,  // x, or parameter * x where x < 0
    elu,         // x, or parameter * (exp(x) - 1) where x < 0
    gelu,        // x * Phi(x)
    gelu_tanh,   // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
    silu,        // x / (1 + exp(-x))
    tanh,
    sigmoid,  // 1 / (1 + exp(-x))
};

// values[i] = f(values[i]). Error at most 0.51 units in the last place, except leaky_relu, which is rounded
// by one float32 product, and is exact otherwise.
void apply(Activation activation, float parameter, float* values, size_t count);

// values[i] = exp(values[i]) / sum of exp(values): at most 1.1 units in the last place. The sum is of
// float64, in eight lanes that depend on i alone.
void softmax(float* values, size_t count);

// values[i] = (values[i] - mean) / sqrt(variance + epsilon) * scale[i] + shift[i], of float64, rounded once.
void normalize(float* values, size_t count, double epsilon, const double* scale, const double* shift);

// values[i] = values[i] * scale[i] + shift[i], as well.
void scale_and_shift(float* values, size_t count, const double* scale, const double* shift);

}  // namespace pyscale::dense
