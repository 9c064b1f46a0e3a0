// Orders are permutations, the same at every ISA level and from every start, and can be undone.
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
            std::vector<int64_t> positions(count), expected(count);
            for (size_t i = 0; i < count; ++i) positions[i] = static_cast<int64_t>(start + i);
            p.at(positions.data(), count, expected.data());
            for (const Isa level : available_isas()) {
                set_isa(level);
                CHECK(part(p, start, count) == expected);
                if (count > 3)
                    CHECK(part(p, start + 3, count - 3) ==
                          std::vector<int64_t>(expected.begin() + 3, expected.end()));
            }
            set_isa(best_isa());
            std::vector<int64_t> back(count);
            p.inverse(expected.data(), count, back.data());
            CHECK(back == positions);
        }
    }
}

TEST(too_many_are_refused) {
    CHECK_THROWS(Permutation(uint64_t{1} << 63, 0, 0, 0), std::invalid_argument, "2^63 - 1");
}
