// What tells in constant memory whether each of 0 to n - 1 came exactly once, in whatever order and wherever.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale {

// A multiset of indices: how many there are, and two sums, modulo 2^64, of hashes of each (AdHash: Bellare
// and Micciancio, "A new paradigm for collision-free hashing", 1997; as a multiset's: Clarke et al.,
// "Incremental multiset hash functions", 2003). Multisets that differ, by accident, have the same with a
// probability of 2^-128. Those of parts add up to that of the whole. The hashes are part of version
// kMultisetVersion.
struct Fingerprint {
    uint64_t count, first, second;
};
constexpr int kMultisetVersion = 1;

// A fingerprint for each range of 2^shift indices tells where something is wrong. n is up to 2^63 - 1.
constexpr size_t kRanges = 256;
int range_shift(uint64_t n);  // the least with which n indices fit kRanges

// Adds each of the indices, which are below n, to the fingerprint of its range.
void add_indices(const int64_t* indices, size_t count, int shift, Fingerprint* ranges);

// Adds start to stop - 1.
void add_between(uint64_t start, uint64_t stop, int shift, int num_threads, Fingerprint* ranges);

// The index that has this fingerprint alone, or -1.
int64_t only_index(const Fingerprint& fingerprint);

}  // namespace pyscale
