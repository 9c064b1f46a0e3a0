// Orders are permutations, the same at every ISA level and from every start, and can be undone.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/permute.h"

using namespace pyscale;

namespace {

const uint64_t kSizes[] = {0,
                           1,
                           2,
                           1000,
                           Permutation::kLargestTable,
                           Permutation::kLargestTable + 1,
                           1000003,
                           Permutation::kLargestNarrow,
                           Permutation::kLargestNarrow + 1,
                           uint64_t{1} << 40,
                           INT64_MAX};

std::vector<int64_t> part(const Permutation& p, uint64_t start, size_t count) {
    std::vector<int64_t> values(count);
    p.indices(start, count, values.data());
    return values;
}

// Each as the first of a run, which takes apart no position but the first, by integers.
std::vector<int64_t> of_runs(const Permutation& p, const std::vector<int64_t>& positions) {
    std::vector<int64_t> values;
    for (const int64_t position : positions) {
        const auto x = static_cast<uint64_t>(position);
        const uint64_t start = std::min(x, p.size() - std::min<uint64_t>(p.size(), 64));
        values.push_back(part(p, start, std::min<uint64_t>(p.size(), 64))[x - start]);
    }
    return values;
}

}  // namespace

TEST(whole_orders_have_everything_once) {
    for (const uint64_t n :
         {uint64_t{0}, uint64_t{1}, uint64_t{5}, uint64_t{65536}, uint64_t{65537}, uint64_t{200003}}) {
        std::vector<int> seen(n);
        for (const int64_t value : part(Permutation(n, 1, 2, 3), 0, n)) ++seen.at(static_cast<size_t>(value));
        for (const int count : seen) CHECK_EQ(count, 1);
    }
}

TEST(every_level_and_every_start_give_the_same) {
    for (const uint64_t n : kSizes) {
        const Permutation p(n, 7, 0, 0);
        const size_t count = n < 500 ? n : 500;
        for (const uint64_t start : {uint64_t{0}, (n - count) / 3, n - count}) {
            std::vector<int64_t> positions(count);
            for (size_t i = 0; i < count; ++i) positions[i] = static_cast<int64_t>(start + i);
            const std::vector<int64_t> expected = of_runs(p, positions);
            for (const Isa level : available_isas()) {
                set_isa(level);
                CHECK(part(p, start, count) == expected);
                if (count > 3)
                    CHECK(part(p, start + 3, count - 3) ==
                          std::vector<int64_t>(expected.begin() + 3, expected.end()));
            }
            set_isa(best_isa());
        }
    }
}

TEST(any_number_at_once_gives_the_same) {
    for (const uint64_t n : kSizes) {
        if (n < 200) continue;
        const Permutation p(n, 7, 0, 0);
        const uint64_t start = n / 7;
        const std::vector<int64_t> expected = part(p, start, 200);
        for (const Isa level : available_isas()) {
            set_isa(level);
            for (size_t count = 0; count <= 200; ++count) {
                std::vector<int64_t> positions(count), got(count);
                std::iota(positions.begin(), positions.end(), static_cast<int64_t>(start));
                const std::vector<int64_t> first(expected.begin(),
                                                 expected.begin() + static_cast<long>(count));
                CHECK(part(p, start, count) == first);
                p.at(positions.data(), count, got.data());
                CHECK(got == first);
                p.inverse(first.data(), count, got.data());
                CHECK(got == positions);
            }
        }
        set_isa(best_isa());
    }
}

TEST(every_step_gives_the_same) {
    for (const uint64_t n : kSizes) {
        const Permutation p(n, 7, 0, 0);
        for (const uint64_t step :
             {uint64_t{1}, uint64_t{2}, uint64_t{63}, n / 1000 + 1, n / 201 + 1, n / 2 + 1}) {
            for (const uint64_t start : {uint64_t{0}, n / 5}) {
                const size_t count = n == 0 ? 0 : std::min<uint64_t>(1000, (n - 1 - start) / step + 1);
                std::vector<int64_t> positions(count), got(count);
                for (size_t i = 0; i < count; ++i) positions[i] = static_cast<int64_t>(start + i * step);
                const std::vector<int64_t> expected = of_runs(p, positions);
                for (const Isa level : available_isas()) {
                    set_isa(level);
                    p.indices(start, count, got.data(), step);
                    CHECK(got == expected);
                }
                set_isa(best_isa());
            }
        }
    }
}

// Above all where the division by b is on the edge.
TEST(every_position_is_found_and_comes_back) {
    std::mt19937_64 random(1);
    for (const uint64_t n : kSizes) {
        if (n == 0) continue;
        const Permutation p(n, 7, 0, 0);
        const auto a = static_cast<uint64_t>(std::ceil(std::sqrt(static_cast<double>(n))));
        const uint64_t b = (n + a - 1) / a;
        std::vector<int64_t> positions;
        for (int i = 0; i < 3000; ++i) {
            const uint64_t quotient = i < 100   ? static_cast<uint64_t>(i)
                                      : i < 200 ? a - 200 + static_cast<uint64_t>(i)
                                                : random() % a;
            for (const uint64_t x : {quotient * b - 1, quotient * b, quotient * b + 1, random() % n})
                positions.push_back(static_cast<int64_t>(x < n ? x : n - 1));
        }
        const std::vector<int64_t> expected = of_runs(p, positions);
        for (const Isa level : available_isas()) {
            set_isa(level);
            std::vector<int64_t> there(positions.size()), back(positions.size());
            p.at(positions.data(), positions.size(), there.data());
            CHECK(there == expected);
            p.inverse(there.data(), there.size(), back.data());
            CHECK(back == positions);
            p.inverse(there.data(), there.size(), there.data());
            CHECK(there == positions);
        }
        set_isa(best_isa());
    }
}

TEST(whole_orders_come_back) {
    for (const uint64_t n : {uint64_t{65537}, uint64_t{66049}, uint64_t{200003}}) {
        const Permutation p(n, 1, 0, 0);
        std::vector<int64_t> positions(n), back(n);
        std::iota(positions.begin(), positions.end(), 0);
        for (const Isa level : available_isas()) {
            set_isa(level);
            const std::vector<int64_t> values = part(p, 0, n);
            p.at(positions.data(), n, back.data());
            CHECK(back == values);
            p.inverse(values.data(), n, back.data());
            CHECK(back == positions);
        }
        set_isa(best_isa());
    }
}

TEST(too_many_are_refused) {
    CHECK_THROWS(Permutation(uint64_t{1} << 63, 0, 0, 0), std::invalid_argument, "2^63 - 1");
}
