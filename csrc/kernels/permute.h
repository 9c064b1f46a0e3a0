// A keyed permutation of 0 to n - 1, any part of which is found by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyscale {

// Up to kLargestTable: a Fisher-Yates shuffle, in a table. Beyond: a Feistel network over mixed radices
// (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). x = l b + r, where a and b are about
// sqrt(n); the rounds add to l a hash of r, modulo a, and to r a hash of l, modulo b, in turn. Of the a b < n
// + a values, those that are n or more go through again, which one in sqrt(n) does.
//
// All is integers, and every order is part of version kPermutationVersion: it is the same on every machine,
// and never changes.
constexpr int kPermutationVersion = 1;

class Permutation {
   public:
    static constexpr int kRounds = 8;
    static constexpr uint64_t kLargestTable = 1 << 16;
    // Up to here, values and all between fit 32 bits.
    static constexpr uint64_t kLargestNarrow = (uint64_t{1} << 32) - 1;

    // The key is mixed from all of seed, epoch and stream. Throws std::invalid_argument for n beyond 2^63
    // - 1.
    Permutation(uint64_t n, uint64_t seed, uint64_t epoch, uint64_t stream);

    uint64_t size() const { return n_; }
    // out[i] = p(start + i step), each of them below n.
    void indices(uint64_t start, size_t count, int64_t* out, uint64_t step = 1) const;
    // out[i] = p(positions[i]); each is below n. out may be positions itself, here and below.
    void at(const int64_t* positions, size_t count, int64_t* out) const;
    // Where the values stand: out[i] with p(out[i]) = values[i]; each is below n.
    void inverse(const int64_t* values, size_t count, int64_t* out) const;

    // What one round's hash is keyed with.
    struct Round {
        uint64_t addend;
        uint32_t multiplier;  // odd
        uint32_t flip;
    };
    // What the vector code needs, in one place.
    struct Network {
        uint64_t n, a, b;
        Round rounds[kRounds];
    };

   private:
    uint64_t n_;
    Network network_{};
    std::vector<uint32_t> table_, inverse_;  // up to kLargestTable
};

}  // namespace pyscale
