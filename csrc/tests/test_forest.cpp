// Every engine at every ISA level beside a walk of one row and node at a time; and what is refused.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/forest/forest.h"

using namespace pyscale;
using forest::Engine;
using forest::Forest;
using forest::Input;
using forest::Link;
using forest::Trees;

namespace {

// Arrays that own what Trees points to.
struct Owned {
    std::vector<int64_t> first{0};
    std::vector<int32_t> output, feature, left, right, category_set, set_values;
    std::vector<int64_t> set_first{0};
    std::vector<double> threshold, values, base;
    std::vector<uint8_t> missing_left, zero_is_missing;
    int64_t features = 5;
    int32_t outputs = 2, width = 1;
    bool narrow = true, narrow_sums = true, base_last = false;

    Trees view() const {
        Trees trees{};
        trees.features = features;
        trees.outputs = outputs;
        trees.narrow = narrow;
        trees.narrow_sums = narrow_sums;
        trees.count = output.size();
        trees.first = first.data();
        trees.output = output.data();
        trees.nodes = feature.size();
        trees.feature = feature.data();
        trees.threshold = threshold.data();
        trees.left = left.data();
        trees.right = right.data();
        trees.missing_left = missing_left.data();
        trees.zero_is_missing = zero_is_missing.data();
        trees.category_set = category_set.data();
        trees.sets = set_first.size() - 1;
        trees.set_first = set_first.data();
        trees.set_values = set_values.data();
        trees.leaves = values.size() / static_cast<size_t>(width);
        trees.width = width;
        trees.values = values.data();
        trees.base = base.data();
        trees.base_last = base_last;
        return trees;
    }
};

Owned random_trees(uint64_t seed, size_t count, int most_leaves, bool sets) {
    std::mt19937_64 random(seed);
    const auto below = [&](size_t n) { return static_cast<int32_t>(random() % n); };
    Owned trees;
    trees.narrow = seed % 2 == 0;
    trees.narrow_sums = seed % 4 < 2;
    trees.width = 1 + static_cast<int32_t>(seed % 2);
    trees.base = {0.5, -0.25};
    trees.base_last = seed % 8 > 5;
    for (int s = 0; s < 4; ++s) {
        for (int32_t c = s; c < 40; c += 2 + s) trees.set_values.push_back(c);
        trees.set_first.push_back(static_cast<int64_t>(trees.set_values.size()));
    }
    for (size_t t = 0; t < count; ++t) {
        const int leaves = 1 + below(static_cast<size_t>(most_leaves));
        const size_t start = trees.feature.size(), size = 2 * static_cast<size_t>(leaves) - 1;
        trees.feature.resize(start + size, -1);
        trees.threshold.resize(start + size);
        trees.left.resize(start + size);
        trees.right.resize(start + size);
        trees.missing_left.resize(start + size);
        trees.zero_is_missing.resize(start + size);
        trees.category_set.resize(start + size, -1);
        std::vector<int32_t> open{0};
        int32_t used = 1;
        for (int split = 1; split < leaves; ++split) {
            const size_t pick = random() % 3 == 0 ? open.size() - 1 : static_cast<size_t>(below(open.size()));
            const auto node = start + static_cast<size_t>(open[pick]);
            open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
            trees.feature[node] = below(5);
            trees.threshold[node] = static_cast<double>(below(400) - 200) / 8;
            trees.left[node] = used;
            trees.right[node] = used + 1;
            trees.missing_left[node] = static_cast<uint8_t>(below(2));
            trees.zero_is_missing[node] = trees.feature[node] == 1;
            if (sets && trees.feature[node] == 2) trees.category_set[node] = below(4);
            open.push_back(used++);
            open.push_back(used++);
        }
        for (const int32_t leaf : open) {
            trees.left[start + static_cast<size_t>(leaf)] =
                static_cast<int32_t>(trees.values.size()) / trees.width;
            for (int32_t w = 0; w < trees.width; ++w) {
                trees.values.push_back(static_cast<float>(random() % 1000) / 7.0f);
            }
        }
        trees.first.push_back(static_cast<int64_t>(trees.feature.size()));
        trees.output.push_back(below(static_cast<size_t>(3 - trees.width)));
    }
    return trees;
}

bool goes_left(const Owned& trees, size_t node, double x) {
    const bool zero = trees.zero_is_missing[node] && std::abs(x) <= double{1e-35f};
    if (std::isnan(x) || zero) return trees.missing_left[node] != 0;
    if (trees.category_set[node] < 0) return x <= trees.threshold[node];
    const auto set = static_cast<size_t>(trees.category_set[node]);
    for (int64_t i = trees.set_first[set]; i < trees.set_first[set + 1]; ++i) {
        if (x >= 0 && std::floor(x) == trees.set_values[static_cast<size_t>(i)]) return true;
    }
    return false;
}

template <class T>
std::vector<T> plain_sums(const Owned& trees, const std::vector<double>& rows, size_t count) {
    std::vector<T> out;
    for (size_t row = 0; row < count; ++row) {
        std::vector<T> sums(trees.base.begin(), trees.base.end());
        if (trees.base_last) std::fill(sums.begin(), sums.end(), T{0});
        for (size_t t = 0; t < trees.output.size(); ++t) {
            const auto start = static_cast<size_t>(trees.first[t]);
            size_t node = start;
            while (trees.feature[node] >= 0) {
                double x = rows[row * 5 + static_cast<size_t>(trees.feature[node])];
                if (trees.narrow) x = static_cast<double>(static_cast<float>(x));
                const bool left = goes_left(trees, node, x);
                node = start + static_cast<size_t>(left ? trees.left[node] : trees.right[node]);
            }
            for (int32_t w = 0; w < trees.width; ++w) {
                sums[static_cast<size_t>(trees.output[t] + w)] +=
                    static_cast<T>(trees.values[static_cast<size_t>(trees.left[node] * trees.width + w)]);
            }
        }
        for (size_t o = 0; o < sums.size() && trees.base_last; ++o) sums[o] += static_cast<T>(trees.base[o]);
        out.insert(out.end(), sums.begin(), sums.end());
    }
    return out;
}

template <class T>
void check_sums(const Owned& trees, const std::vector<double>& rows, size_t count) {
    const Forest forest(trees.view());
    const std::vector<T> expected = plain_sums<T>(trees, rows, count);
    const Input input{reinterpret_cast<const char*>(rows.data()), 5 * sizeof(double), sizeof(double), true};
    const Isa before = isa();
    for (const Isa level : available_isas()) {
        set_isa(level);
        for (const Engine engine : {Engine::choose, Engine::masks, Engine::hybrid, Engine::walk}) {
            for (const size_t some : {size_t{1}, size_t{3}, size_t{5}, size_t{70}, count}) {
                std::vector<T> out(2 * some);
                forest.predict(input, some, 0, trees.output.size(), Link{}, out.data(), 2, engine);
                CHECK(std::equal(out.begin(), out.end(), expected.begin()));
            }
        }
    }
    set_isa(before);
}

std::vector<double> random_rows(uint64_t seed, size_t count) {
    std::mt19937_64 random(seed);
    std::vector<double> rows(count * 5);
    for (double& x : rows) {
        x = static_cast<double>(random() % 500) / 8 - 31;
        const size_t kind = random() % 20;
        if (kind == 0) x = std::numeric_limits<double>::quiet_NaN();
        if (kind == 1) x = kind % 2 ? 0.0 : -0.0;
        if (kind == 2) x = std::numeric_limits<double>::infinity();
        if (kind == 3) x = std::nextafter(x, 1e9);
    }
    return rows;
}

}  // namespace

TEST(all_engines_give_the_same_sums) {
    for (uint64_t seed = 0; seed < 12; ++seed) {
        const int most_leaves = seed % 3 == 0 ? 20 : (seed % 3 == 1 ? 256 : 900);
        const Owned trees = random_trees(seed, 12, most_leaves, seed % 4 == 3);
        const std::vector<double> rows = random_rows(seed, 700);
        if (trees.narrow_sums) {
            check_sums<float>(trees, rows, 700);
        } else {
            check_sums<double>(trees, rows, 700);
        }
    }
}

TEST(leaves_are_those_that_are_reached) {
    Owned trees = random_trees(4, 6, 60, false);
    const std::vector<double> rows = random_rows(1, 90);
    const Input input{reinterpret_cast<const char*>(rows.data()), 5 * sizeof(double), sizeof(double), true};
    std::vector<int32_t> leaves(90 * 6);
    Forest(trees.view()).leaves(input, 90, 0, 6, leaves.data(), 1);
    for (size_t row = 0; row < 90; ++row) {
        for (size_t t = 0; t < 6; ++t) {
            const auto start = static_cast<size_t>(trees.first[t]);
            size_t node = start;
            while (trees.feature[node] >= 0) {
                const double x = static_cast<float>(rows[row * 5 + static_cast<size_t>(trees.feature[node])]);
                node = start +
                       static_cast<size_t>(goes_left(trees, node, x) ? trees.left[node] : trees.right[node]);
            }
            CHECK_EQ(leaves[row * 6 + t], static_cast<int32_t>(node - start));
        }
    }
}

TEST(nothing_but_trees_is_taken) {
    const Owned good = random_trees(2, 3, 30, true);
    Owned cycle = good;
    const auto root = static_cast<size_t>(good.first[1]);
    CHECK(good.feature[root] >= 0);
    cycle.right[root] = cycle.left[root];
    CHECK_THROWS(Forest(cycle.view()), std::invalid_argument, "tree 1: expected every node");
    Owned outside = good;
    outside.left[root] = 1 << 30;
    CHECK_THROWS(Forest(outside.view()), std::invalid_argument, "left of node 0 of tree 1");
    Owned nan = good;
    nan.category_set[root] = -1;
    nan.threshold[root] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS(Forest(nan.view()), std::invalid_argument, "got NaN");
    Owned feature = good;
    feature.feature[root] = 5;
    CHECK_THROWS(Forest(feature.view()), std::invalid_argument, "expected 0 to 4, got 5");
}

TEST(a_calibrated_forest_says_what_it_costs) {
    const Owned trees = random_trees(1, 30, 40, false);
    Forest forest(trees.view());
    const Forest::Costs costs = forest.calibrate();
    CHECK(costs.large_block > 0 && costs.small_block > 0 && costs.group > 0 && costs.row > 0);
    forest.set_costs(costs);
    CHECK(forest.cost(1000) > forest.cost(10));
}
