// Compiles the file PYSCALE_ISA_INC once for every ISA level, in the namespaces pyscale::baseline,
// pyscale::avx2 and pyscale::avx512. For instance:
//
//     #define PYSCALE_ISA_INC "kernels/reduce.inc"
//     #include "core/for_each_isa.h"
//
// There PYSCALE_VECTOR_BYTES is the width of a register, and PYSCALE_X86_LEVEL is 2 (SSE2), 3 (AVX2, F16C and
// FMA) or 4 (AVX-512); it is 0 off x86-64. Outside the .inc, PYSCALE_PICK_ISA(f) of core/isa.h takes the
// level in use.
//
// Everything the .inc uses must be included before, outside: a standard header read between the pragmas would
// be compiled for the wider machine, and the linker might keep that copy for all. For the same reason the
// code goes into anonymous namespaces. OpenMP stays outside as well, because Clang compiles its bodies for
// the baseline.

#include "core/isa.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PYSCALE_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define PYSCALE_TARGET_BEGIN(features) \
    PYSCALE_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define PYSCALE_TARGET_END PYSCALE_PRAGMA(clang attribute pop)
#else
#define PYSCALE_TARGET_BEGIN(features) PYSCALE_PRAGMA(GCC push_options) PYSCALE_PRAGMA(GCC target(features))
#define PYSCALE_TARGET_END PYSCALE_PRAGMA(GCC pop_options)
#endif

#define PYSCALE_X86_LEVEL 2
#define PYSCALE_VECTOR_BYTES 16
namespace pyscale::baseline {
namespace {
#include PYSCALE_ISA_INC
}
}  // namespace pyscale::baseline
#undef PYSCALE_X86_LEVEL
#undef PYSCALE_VECTOR_BYTES

PYSCALE_TARGET_BEGIN("avx2,f16c,fma")
#define PYSCALE_X86_LEVEL 3
#define PYSCALE_VECTOR_BYTES 32
namespace pyscale::avx2 {
namespace {
#include PYSCALE_ISA_INC
}
}  // namespace pyscale::avx2
#undef PYSCALE_X86_LEVEL
#undef PYSCALE_VECTOR_BYTES
PYSCALE_TARGET_END

PYSCALE_TARGET_BEGIN("avx2,f16c,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")
#define PYSCALE_X86_LEVEL 4
#define PYSCALE_VECTOR_BYTES 64
namespace pyscale::avx512 {
namespace {
#include PYSCALE_ISA_INC
}
}  // namespace pyscale::avx512
#undef PYSCALE_X86_LEVEL
#undef PYSCALE_VECTOR_BYTES
PYSCALE_TARGET_END

#undef PYSCALE_TARGET_BEGIN
#undef PYSCALE_TARGET_END
#undef PYSCALE_PRAGMA

#else

#define PYSCALE_X86_LEVEL 0
#define PYSCALE_VECTOR_BYTES 16
namespace pyscale::baseline {
namespace {
#include PYSCALE_ISA_INC
}
}  // namespace pyscale::baseline
#undef PYSCALE_X86_LEVEL
#undef PYSCALE_VECTOR_BYTES

#endif

#undef PYSCALE_ISA_INC
