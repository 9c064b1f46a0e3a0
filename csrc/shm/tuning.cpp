#include "shm/tuning.h"

#include <stdexcept>

#include "core/cache.h"

namespace pyscale {

namespace {

constexpr Algorithm kAll[] = {Algorithm::automatic, Algorithm::eager, Algorithm::one_shot,
                              Algorithm::two_shot, Algorithm::direct};

}  // namespace

const char* name(Algorithm algorithm) {
    switch (algorithm) {
        case Algorithm::automatic: return "auto";
        case Algorithm::eager: return "eager";
        case Algorithm::one_shot: return "one_shot";
        case Algorithm::two_shot: return "two_shot";
        case Algorithm::direct: return "direct";
    }
    return "?";
}

Algorithm parse_algorithm(const std::string& text) {
    for (const Algorithm algorithm : kAll) {
        if (text == name(algorithm)) return algorithm;
    }
    throw std::invalid_argument(
        "PYSCALE_ALLREDUCE_ALGORITHM: expected auto, eager, one_shot, two_shot or direct, got '" + text +
        "'");
}

Tuning Tuning::for_ranks(int ranks, int cores) {
    // Measured on 2 cores of a Zen 3 with 2, 4 and 8 ranks. Where ranks share cores a barrier costs several
    // context switches, so that a second crossing pays later.
    const size_t cache_bytes = last_cache_bytes() / 4 * 3;  // others use it too
    if (ranks <= cores) return {8 << 10, 512, 64 << 10, 256 << 10, cache_bytes};
    return {16 << 10, 8 << 10, 32 << 10, 256 << 10, cache_bytes};
}

}  // namespace pyscale
