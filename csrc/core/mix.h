// Numbers from keys.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace pyscale {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

// SplitMix64's finalizer (Steele, Lea and Flood, 2014): every bit of the input moves half of the output's.
constexpr uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

// One after the other: no sum of them stands for another.
constexpr uint64_t combine(std::initializer_list<uint64_t> parts, uint64_t state = 0) {
    for (const uint64_t part : parts) state = mix(state * kGolden + mix(part + kGolden));
    return state;
}

// Numbers that follow from a state alone.
class Numbers {
   public:
    explicit Numbers(uint64_t state) : state_(state) {}
    uint64_t next() { return mix(state_ += kGolden); }
    // Below the bound, each as likely as any other (Lemire, 2019).
    uint64_t below(uint64_t bound) {
        for (;;) {
            const unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
            if (static_cast<uint64_t>(product) >= -bound % bound) return static_cast<uint64_t>(product >> 64);
        }
    }

   private:
    uint64_t state_;
};

}  // namespace pyscale
