#pragma once
// Which instruction set the kernels use: chosen once at run time, so that one build serves every machine.

#include <cstdint>
#include <vector>

namespace pyscale {

// Levels, each holding those before it. Off x86-64 only the baseline exists.
enum class Isa : uint8_t {
    baseline,  // the floor of the architecture's ABI: SSE2 on x86-64, NEON on aarch64
    avx2,      // AVX2, F16C and FMA
    avx512,    // AVX-512 F, BW, CD, DQ and VL
};

const char* name(Isa);

std::vector<Isa> available_isas();  // what this machine has, in ascending order
Isa best_isa();

// The level in use: PYSCALE_ISA where it is set, else the best. Throws std::invalid_argument if PYSCALE_ISA
// names no level that this machine has.
Isa isa();

// Makes isa() return level from now on, in all threads. For tests and benchmarks.
void set_isa(Isa level);

// PYSCALE_PICK_ISA(f) is the f of the level in use, out of those that core/for_each_isa.h compiled.
#if defined(__x86_64__)
#define PYSCALE_PICK_ISA(f)                     \
    (::pyscale::isa() == ::pyscale::Isa::avx512 \
         ? avx512::f                            \
         : (::pyscale::isa() == ::pyscale::Isa::avx2 ? avx2::f : baseline::f))
#else
#define PYSCALE_PICK_ISA(f) (baseline::f)
#endif

}  // namespace pyscale
