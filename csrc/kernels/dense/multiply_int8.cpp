#include "kernels/dense/multiply_int8.h"

#include <type_traits>

#include "core/dtype.h"

namespace pyscale {
namespace {

struct ByteBlock {
    const uint8_t* x;
    size_t ldx;
    const float* row_scales;
    const char* weights;  // of the panel
    size_t groups;        // of four inputs
    const float* bias;
    const float* scales;         // of outputs
    const int32_t* corrections;  // the zero of the inputs times the sum of the weights of each
    dense::Activation activation;
    float parameter;
    dense::ByteOutput out;  // of the panel
    size_t ld_bytes;
};

}  // namespace
}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/dense/multiply_int8.inc"
#include "core/for_each_isa.h"

// AVX-512 with VNNI, which multiplies and adds four bytes in one instruction: the same whole numbers.
#if defined(__x86_64__)
#define PYSCALE_VNNI
#define PYSCALE_X86_LEVEL 4
#define PYSCALE_VECTOR_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(                                                                        \
    __attribute__((target("avx2,f16c,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni")
#endif
namespace pyscale::vnni {
namespace {
#include "kernels/dense/multiply_int8.inc"
}
}  // namespace pyscale::vnni
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef PYSCALE_X86_LEVEL
#undef PYSCALE_VECTOR_BYTES
#undef PYSCALE_VNNI
#endif

namespace pyscale::dense {

namespace {

using Multiply = void (*)(const Packed&, size_t, size_t, const float*, const uint8_t*, const float*, size_t,
                          Activation, float, const ByteOutput&);

Multiply pick() {
#if defined(__x86_64__)
    static const bool has_vnni = __builtin_cpu_supports("avx512vnni");
    if (isa() == Isa::avx512 && has_vnni) return vnni::multiply_bytes;
#endif
    return PYSCALE_PICK_ISA(multiply_bytes);
}

}  // namespace

void quantize(const Levels& levels, const float* x, size_t ldx, size_t rows, size_t inputs, uint8_t* bytes,
              float* scales) {
    if (levels.scale == 0) {
        PYSCALE_PICK_ISA(quantize_rows)(x, ldx, rows, inputs, bytes, scales);
    } else {
        PYSCALE_PICK_ISA(quantize_to_levels)(levels, x, ldx, rows, inputs, bytes, scales);
    }
}

void multiply_int8(const Packed& weights, size_t first, size_t count, const float* bias, const uint8_t* x,
                   const float* scales, size_t rows, Activation activation, float parameter,
                   const ByteOutput& out) {
    pick()(weights, first, count, bias, x, scales, rows, activation, parameter, out);
}

}  // namespace pyscale::dense
