// The best rows for a query, out of scores that come in the order of the rows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale::topk {

// A value, greater is better, and its row in one number, greater is better: the smaller row wins among equal
// values, and NaN is below all numbers.
uint64_t key_of(float value, uint32_t row);
float value_of(uint64_t key);  // NaN comes out as the positive quiet one, zero as the positive one
inline uint32_t row_of(uint64_t key) { return ~static_cast<uint32_t>(key); }

inline constexpr size_t kAtOnce = 64;  // rows that a scan may add between two looks at the room

// Keeps what is better than the k-th best was when it was last known. Rows after those of an equal value are
// no better, since they come in order.
struct Best {
    // Of `keys` for k rows: so that what is kept is looked through once for as many new ones.
    static size_t room(size_t k) { return k + (k < kAtOnce ? kAtOnce : k) + kAtOnce; }

    uint64_t* keys;
    size_t k;
    size_t size = 0;
    float threshold;  // the value of the k-th best; NaN while it is none

    Best(uint64_t* room_for_keys, size_t count);
    void shrink();  // to the best k, in any order
    // The best, at most k, in order; returns how many.
    size_t finish();
};

// Adds rows first… with these values, of inner products.
void add_products(const float* products, size_t count, size_t first, Best& best);
// The same of distances, whose values are their negatives.
void add_distances(const float* distances, size_t count, size_t first, Best& best);

}  // namespace pyscale::topk
