// Splits are complete, even in counts, refused for what is no length, and the best there is for few samples.
#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "kernels/balance.h"

using namespace pyscale;

namespace {

struct Split {
    std::vector<int64_t> order, offsets;
    double largest = 0, mean = 0;

    Split(const std::vector<double>& lengths, size_t num_ranks, double quadratic = 0,
          bool equal_counts = true)
        : order(lengths.size()), offsets(num_ranks + 1) {
        balance(lengths.data(), lengths.size(), num_ranks, 1, quadratic, equal_counts, order.data(),
                offsets.data());
        for (size_t rank = 0; rank < num_ranks; ++rank) {
            double load = 0;
            for (int64_t i = offsets[rank]; i < offsets[rank + 1]; ++i) {
                const double length = lengths[static_cast<size_t>(order[static_cast<size_t>(i)])];
                load += length + quadratic * length * length;
            }
            largest = std::max(largest, load);
            mean += load / static_cast<double>(num_ranks);
        }
    }

    // Everything once, in order within a rank; counts that differ by `slack` at most.
    bool is_whole(size_t slack) const {
        std::vector<int64_t> sorted = order;
        std::sort(sorted.begin(), sorted.end());
        bool good = offsets.front() == 0 && offsets.back() == static_cast<int64_t>(order.size());
        for (size_t i = 0; i < sorted.size(); ++i) good = good && sorted[i] == static_cast<int64_t>(i);
        int64_t least = INT64_MAX, most = 0;
        for (size_t rank = 0; rank + 1 < offsets.size(); ++rank) {
            good = good && std::is_sorted(order.begin() + offsets[rank], order.begin() + offsets[rank + 1]);
            least = std::min(least, offsets[rank + 1] - offsets[rank]);
            most = std::max(most, offsets[rank + 1] - offsets[rank]);
        }
        return good && most - least <= static_cast<int64_t>(slack);
    }
};

// By looking at all of them: every sample in every rank.
double least_possible(const std::vector<double>& costs, size_t num_ranks, bool equal_counts) {
    const size_t n = costs.size(), least = equal_counts ? n / num_ranks : 0;
    std::vector<double> loads(num_ranks);
    std::vector<size_t> counts(num_ranks);
    double best = INFINITY;
    const auto place = [&](const auto& self, size_t i) -> void {
        if (i == n) {
            for (const size_t count : counts) {
                if (equal_counts && (count < least || count > least + (n % num_ranks > 0))) return;
            }
            best = std::min(best, *std::max_element(loads.begin(), loads.end()));
            return;
        }
        for (size_t rank = 0; rank < num_ranks; ++rank) {
            loads[rank] += costs[i], ++counts[rank];
            self(self, i + 1);
            loads[rank] -= costs[i], --counts[rank];
            if (counts[rank] == 0) break;  // empty ranks are alike
        }
    };
    place(place, 0);
    return best;
}

std::vector<double> draw(std::mt19937_64& random, size_t n, int kind) {
    std::vector<double> lengths(n);
    std::lognormal_distribution<double> lognormal(6, 1);
    for (double& x : lengths) {
        x = kind == 0 ? std::floor(lognormal(random))
                      : static_cast<double>(random() % (kind == 1 ? 1000 : 6));
    }
    return lengths;
}

}  // namespace

TEST(few_samples_are_split_as_well_as_can_be) {
    std::mt19937_64 random(1);
    for (size_t n = 1; n <= 9; ++n) {
        for (size_t ranks = 1; ranks <= 4; ++ranks) {
            for (int kind = 0; kind < 3; ++kind) {
                for (const bool equal : {true, false}) {
                    const std::vector<double> lengths = draw(random, n, kind);
                    const Split split(lengths, ranks, 0, equal);
                    CHECK(split.is_whole(equal ? 1 : n));
                    CHECK_EQ(split.largest, least_possible(lengths, ranks, equal));
                }
            }
        }
    }
    for (int turn = 0; turn < 4; ++turn) {
        for (const size_t ranks : {size_t{3}, size_t{4}}) {
            const std::vector<double> lengths = draw(random, 11, turn % 2);
            CHECK_EQ(Split(lengths, ranks).largest, least_possible(lengths, ranks, true));
        }
    }
}

TEST(many_samples_are_split_within_a_thousandth) {
    std::mt19937_64 random(2);
    for (const size_t n : {size_t{4096}, size_t{4000}, size_t{100000}}) {
        for (const double quadratic : {0.0, 1.0 / 12288, 1.0}) {
            for (const int kind : {0, 1}) {
                const std::vector<double> lengths = draw(random, n, kind);
                const Split split(lengths, 32, quadratic);
                CHECK(split.is_whole(n % 32 > 0));
                // The mean, or the longest with the shortest beside it.
                std::vector<double> costs;
                for (const double length : lengths) costs.push_back(length + quadratic * length * length);
                std::sort(costs.begin(), costs.end());
                double bound = costs.back();
                for (size_t i = 0; i + 1 < n / 32; ++i) bound += costs[i];
                CHECK(split.largest < 1.001 * std::max(bound, split.mean));
            }
        }
    }
}

TEST(the_largest_sum_is_below_its_bounds) {
    std::mt19937_64 random(3);
    for (int turn = 0; turn < 6000; ++turn) {
        const bool few = turn % 2 == 0;  // so that all splits are searched
        const size_t n = 1 + random() % (few ? 16 : 200), ranks = 1 + random() % (few ? 6 : 40);
        const std::vector<double> lengths = draw(random, n, turn % 3);
        const double longest = *std::max_element(lengths.begin(), lengths.end());
        const Split equal(lengths, ranks), any(lengths, ranks, 0, false);
        CHECK(equal.is_whole(1));
        CHECK(any.is_whole(n));
        CHECK(equal.largest <= 1.0000001 * (equal.mean + longest));
        CHECK(any.largest <= 1.0000001 * (any.mean + longest * (1 - 1.0 / static_cast<double>(ranks))));
    }
}

TEST(extremes) {
    for (const bool equal : {true, false}) {
        CHECK(Split({}, 3, 0, equal).is_whole(0));
        CHECK(Split({0, 0, 0, 0, 0, 0, 0}, 3, 0, equal).is_whole(equal ? 1 : 7));
        CHECK(Split({5, 5}, 4, 0, equal).is_whole(1));
        CHECK_EQ(Split({1e300, 1e300, 1, 1}, 2, 0, equal).largest, 1e300 + 1);
        CHECK(Split({5e-324, 1e-310, 5e-324}, 2, 0, equal).is_whole(1));
        CHECK(Split(std::vector<double>(5000, 1e308), 7, 0, equal).is_whole(1));
    }
}

TEST(what_is_no_length_is_refused) {
    for (const double bad : {-1.0, -HUGE_VAL, HUGE_VAL, std::nan("")}) {
        CHECK_THROWS(Split({1, 2, bad, 3}, 2), std::invalid_argument, "for sample 2");
        CHECK_THROWS(Split({1, 2}, 2, bad), std::invalid_argument, "quadratic");
    }
    CHECK_THROWS(Split({1e200, 2}, 2, 1), std::invalid_argument, "each cost");
}
