#include "core/isa.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "core/errors.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pyscale {
namespace {

constexpr Isa kIsas[] = {Isa::baseline, Isa::avx2, Isa::avx512};

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool has(Isa level) {
    switch (level) {
        case Isa::baseline: return true;
#if defined(__x86_64__)
        case Isa::avx2: {
            unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
            const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
        }
        case Isa::avx512:
            return has(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
        default: return false;
    }
}

std::string available_names() {
    std::string names;
    for (Isa level : available_isas()) {
        names += (names.empty() ? "" : ", ") + std::string(name(level));
    }
    return names;
}

Isa initial_isa() {
    const char* wanted = std::getenv("PYSCALE_ISA");
    if (wanted == nullptr || *wanted == '\0') {
        return best_isa();
    }
    for (Isa level : available_isas()) {
        if (wanted == std::string(name(level))) {
            return level;
        }
    }
    throw_expected("PYSCALE_ISA", "one of " + available_names() + " on this machine", wanted);
}

std::atomic<Isa>& current_isa() {
    static std::atomic<Isa> level{initial_isa()};
    return level;
}

}  // namespace

const char* name(Isa level) {
    switch (level) {
        case Isa::baseline: return "baseline";
        case Isa::avx2: return "avx2";
        case Isa::avx512: return "avx512";
    }
    return "unknown";
}

std::vector<Isa> available_isas() {
    std::vector<Isa> levels;
    std::copy_if(std::begin(kIsas), std::end(kIsas), std::back_inserter(levels), has);
    return levels;
}

Isa best_isa() { return available_isas().back(); }

Isa isa() { return current_isa().load(std::memory_order_relaxed); }

void set_isa(Isa level) {
    if (!has(level)) {
        throw_expected("isa", "one of " + available_names() + " on this machine", name(level));
    }
    current_isa().store(level, std::memory_order_relaxed);
}

}  // namespace pyscale
