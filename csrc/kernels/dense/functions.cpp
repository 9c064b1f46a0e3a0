#include "kernels/dense/functions.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "core/dtype.h"

namespace pyscale {
namespace {

// Of Phi(-a): see gelu_of.
constexpr double kMills[] = {
    0.47205320650651617,    -0.0967034768725053,    0.013999634857133002,  0.028600343930673303,
    -0.03219783838857467,   0.01793635565759407,    -0.005002346922015249, -0.00028707448562124765,
    0.0006945079071698729,  -9.035004298261535e-05, -8.61019176463841e-05, 1.5517826683337762e-05,
    1.0254011354510526e-05,
};

}  // namespace
}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/dense/functions.inc"
#include "core/for_each_isa.h"

namespace pyscale::dense {

void apply(Activation activation, float parameter, float* values, size_t count) {
    PYSCALE_PICK_ISA(apply_to)(activation, parameter, values, count);
}

void softmax(float* values, size_t count) { PYSCALE_PICK_ISA(softmax_of)(values, count); }

void normalize(float* values, size_t count, double epsilon, const double* scale, const double* shift) {
    // Few flops beside the layers': plain loops, whose lanes are the same whatever they are compiled to.
    constexpr size_t kLanes = 8;
    double sums[kLanes] = {};
    for (size_t i = 0; i < count; ++i) sums[i % kLanes] += static_cast<double>(values[i]);
    double sum = 0;
    for (const double lane : sums) sum += lane;
    const double mean = sum / static_cast<double>(count);
    double squares[kLanes] = {};
    for (size_t i = 0; i < count; ++i) {
        const double off = static_cast<double>(values[i]) - mean;
        squares[i % kLanes] += off * off;
    }
    double square = 0;
    for (const double lane : squares) square += lane;
    const double factor = 1 / std::sqrt(square / static_cast<double>(count) + epsilon);
    for (size_t i = 0; i < count; ++i) {
        values[i] =
            static_cast<float>((static_cast<double>(values[i]) - mean) * factor * scale[i] + shift[i]);
    }
}

void scale_and_shift(float* values, size_t count, const double* scale, const double* shift) {
    for (size_t i = 0; i < count; ++i) {
        values[i] = static_cast<float>(static_cast<double>(values[i]) * scale[i] + shift[i]);
    }
}

}  // namespace pyscale::dense
