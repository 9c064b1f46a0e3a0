// Fingerprints are those of the plain sums, at every level, however the indices come; and differ where the
// multisets do.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/bounds.h"
#include "kernels/multiset.h"

using namespace pyscale;

namespace {

using Ranges = std::vector<Fingerprint>;

bool equal(const Ranges& a, const Ranges& b) {
    return std::equal(a.begin(), a.end(), b.begin(), [](const Fingerprint& x, const Fingerprint& y) {
        return x.count == y.count && x.first == y.first && x.second == y.second;
    });
}

Ranges added(const std::vector<int64_t>& indices, uint64_t n) {
    Ranges ranges(kRanges);
    add_indices(indices.data(), indices.size(), range_shift(n), ranges.data());
    return ranges;
}

// The definition, index by index.
Ranges reference(const std::vector<int64_t>& indices, uint64_t n) {
    Ranges ranges(kRanges);
    for (const int64_t index : indices) {
        const uint64_t x = static_cast<uint64_t>(index) + 0x9E3779B97F4A7C15u;
        uint64_t first = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
        first = (first ^ first >> 27) * 0x94D049BB133111EBu;
        uint64_t second = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
        second = (second ^ second >> 33) * 0xC4CEB9FE1A85EC53u;
        Fingerprint& range = ranges[static_cast<uint64_t>(index) >> range_shift(n)];
        ++range.count;
        range.first += first ^ first >> 31;
        range.second += second ^ second >> 33;
    }
    return ranges;
}

std::vector<int64_t> run(uint64_t start, size_t count) {
    std::vector<int64_t> indices(count);
    for (size_t i = 0; i < count; ++i) indices[i] = static_cast<int64_t>(start + i);
    return indices;
}

}  // namespace

TEST(ranges_are_the_smallest_powers_of_two_that_suffice) {
    CHECK_EQ(range_shift(0), 0);
    CHECK_EQ(range_shift(256), 0);
    CHECK_EQ(range_shift(257), 1);
    CHECK_EQ(range_shift(512), 1);
    CHECK_EQ(range_shift(INT64_MAX), 55);
}

TEST(every_level_and_every_count_give_the_plain_sums) {
    std::mt19937_64 random(1);
    for (const uint64_t n : {uint64_t{1000}, uint64_t{1} << 33, uint64_t{INT64_MAX}}) {
        for (size_t count = 0; count < 300; count += 1 + count / 8) {
            std::vector<int64_t> indices(count);
            for (int64_t& index : indices) index = static_cast<int64_t>(random() % n);
            const uint64_t start = random() % (n - count);
            const std::vector<int64_t> sequence = run(start, count);
            for (const Isa level : available_isas()) {
                set_isa(level);
                CHECK(equal(added(indices, n), reference(indices, n)));
                CHECK(equal(added(sequence, n), reference(sequence, n)));
                Ranges between(kRanges);
                add_between(start, start + count, range_shift(n), 1, between.data());
                CHECK(equal(between, reference(sequence, n)));
            }
        }
    }
    set_isa(best_isa());
}

TEST(parts_and_threads_add_up_to_the_whole) {
    const uint64_t n = 5000000;
    const Ranges whole = reference(run(0, n), n);
    for (const int num_threads : {1, 3}) {
        Ranges parts(kRanges);
        for (const uint64_t cut : {uint64_t{0}, uint64_t{1}, uint64_t{1000003}}) {
            std::fill(parts.begin(), parts.end(), Fingerprint{});
            add_between(0, cut, range_shift(n), num_threads, parts.data());
            add_between(cut, n, range_shift(n), num_threads, parts.data());
            CHECK(equal(parts, whole));
        }
    }
}

TEST(the_first_outside_is_found) {
    std::vector<int64_t> indices = run(0, 5000);
    CHECK_EQ(first_outside(indices.data(), 5000, 5000), size_t{5000});
    CHECK_EQ(first_outside(indices.data(), 5000, 4999), size_t{4999});
    CHECK_EQ(first_outside(indices.data(), 0, 0), size_t{0});
    for (const size_t place : {size_t{0}, size_t{1023}, size_t{1024}, size_t{4999}}) {
        indices[place] = place % 2 ? -1 : INT64_MIN;
        CHECK_EQ(first_outside(indices.data(), 5000, INT64_MAX), place);
        indices[place] = 0;
    }
}

TEST(one_index_is_known_by_its_fingerprint) {
    for (const int64_t index : {int64_t{0}, int64_t{1}, int64_t{123456789012}, INT64_MAX - 1}) {
        Fingerprint one = added({index}, INT64_MAX)[static_cast<uint64_t>(index) >> 55];
        CHECK_EQ(only_index(one), index);
        ++one.second;
        CHECK_EQ(only_index(one), -1);
    }
    CHECK_EQ(only_index({2, 0, 0}), -1);
}
