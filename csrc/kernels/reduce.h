#pragma once
// Element-wise reduction of several arrays into one or more: the arithmetic of every collective.

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace pyscale {

enum class Op : uint8_t { sum, mean, min, max, prod };

inline constexpr Op kOps[] = {Op::sum, Op::mean, Op::min, Op::max, Op::prod};

const char* name(Op op);

// bool: min and max. Integers: all but mean. Floats: all.
bool reducible(DType dtype, Op op);

// What sums are kept in: float32 for the 16-bit floats, else the type itself.
DType accumulator(DType dtype);

// Whether reduce() takes this pair: equal types, {float16, bfloat16} with {float32, float64}, float32 with
// float64.
bool convertible(DType in, DType out);

// dst[d][i] = src[0][i] op src[1][i] op … op src[nsrc - 1][i], for all d < ndst and i < n: a left fold in the
// order of src, with the same bits at any ISA level, n and alignment. A dst may be a src (in place), but not
// overlap one partly.
//
// - Arithmetic is in the wider of accumulator(in) and accumulator(out), and rounded once, on store.
// - mean divides the sum by divisor before that rounding. Where the sum overflows, the element is summed
//   again with every term scaled by a power of two, so that no mean overflows that is representable.
// - Integers wrap. min and max return NaN where any term is NaN. Every NaN result is the positive quiet NaN
//   without payload, because which payload survives an addition differs between compilers and machines.
//
// Throws std::invalid_argument for an in, out, op, nsrc, ndst or divisor that is not as said here.
void reduce(DType in, DType out, Op op, const void* const* src, int nsrc, void* const* dst, int ndst,
            size_t n, int64_t divisor = 1);

// Whether none of n elements is infinite or NaN. True for every type that has neither.
bool all_finite(DType dtype, const void* data, size_t n);

}  // namespace pyscale
