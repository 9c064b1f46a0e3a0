#include "kernels/multiset.h"

#include <algorithm>
#include <type_traits>

#include "core/half.h"
#include "core/parallel.h"

namespace pyscale {

namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;
constexpr uint64_t kFirst[] = {0xBF58476D1CE4E5B9u, 0x94D049BB133111EBu};
constexpr uint64_t kSecond[] = {0xFF51AFD7ED558CCDu, 0xC4CEB9FE1A85EC53u};

}  // namespace

}  // namespace pyscale

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own intrinsics
#endif
#define PYSCALE_ISA_INC "kernels/multiset.inc"
#include "core/for_each_isa.h"

namespace pyscale {

namespace {

constexpr int kChunkShift = 20;  // what a thread takes at a time: a millisecond, or so

// Newton's way to the inverse modulo 2^64 of an odd number: each step doubles the bits that are right.
constexpr uint64_t inverse_of(uint64_t odd) {
    uint64_t inverse = odd;  // 3 bits
    for (int bits = 3; bits < 64; bits *= 2) inverse *= 2 - odd * inverse;
    return inverse;
}

uint64_t undo_shift(uint64_t x, int shift) {
    uint64_t result = x;
    for (int done = shift; done < 64; done += shift) result = x ^ result >> shift;
    return result;
}

uint64_t undo_first_hash(uint64_t x) {
    x = undo_shift(x, 31) * inverse_of(kFirst[1]);
    x = undo_shift(x, 27) * inverse_of(kFirst[0]);
    return undo_shift(x, 30) - kGolden;
}

}  // namespace

int range_shift(uint64_t n) {
    int shift = 0;
    while (n > 0 && (n - 1) >> shift >= kRanges) ++shift;
    return shift;
}

void add_indices(const int64_t* indices, size_t count, int shift, Fingerprint* ranges) {
    PYSCALE_PICK_ISA(add_to_ranges)(indices, count, shift, ranges);
}

void add_between(uint64_t start, uint64_t stop, int shift, int num_threads, Fingerprint* ranges) {
    if (start >= stop) return;
    // Chunks begin at multiples of their size, so that each lies in one range.
    const int chunk_shift = std::min(shift, kChunkShift);
    const uint64_t first = start >> chunk_shift, last = (stop - 1) >> chunk_shift;
    parallel_for(last - first + 1, 1, num_threads, [&](size_t begin, size_t) {
        const uint64_t chunk = first + begin;
        const uint64_t from = std::max(start, chunk << chunk_shift);
        const uint64_t to = std::min(stop, (chunk + 1) << chunk_shift);
        const Fingerprint part = PYSCALE_PICK_ISA(fingerprint_of_run)(from, to - from);
        Fingerprint& range = ranges[from >> shift];
        __atomic_fetch_add(&range.count, part.count, __ATOMIC_RELAXED);
        __atomic_fetch_add(&range.first, part.first, __ATOMIC_RELAXED);
        __atomic_fetch_add(&range.second, part.second, __ATOMIC_RELAXED);
    });
}

int64_t only_index(const Fingerprint& fingerprint) {
    const uint64_t index = undo_first_hash(fingerprint.first);
    const bool fits =
        fingerprint.count == 1 && index <= INT64_MAX && baseline::second_hash(index) == fingerprint.second;
    return fits ? static_cast<int64_t>(index) : -1;
}

}  // namespace pyscale
