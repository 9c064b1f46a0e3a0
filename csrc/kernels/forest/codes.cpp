#include "kernels/forest/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/half.h"
#include "core/parallel.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own intrinsics
#endif
#define PYSCALE_ISA_INC "kernels/forest/codes.inc"
#include "core/for_each_isa.h"

namespace pyscale::forest {

namespace {

// The largest float32 that is not above x.
float round_down(double x) {
    const auto nearest = static_cast<float>(x);  // of what is beyond them all, an infinity
    return static_cast<double>(nearest) > x ? std::nextafter(nearest, -std::numeric_limits<float>::infinity())
                                            : nearest;
}

// Fills node i of the search tree and what is below it with what comes next of the sorted values.
template <class T, class F>
void fill(std::vector<T>& tree, size_t node, size_t& next, size_t count, const F& value) {
    if (node >= tree.size()) return;
    fill(tree, 2 * node, next, count, value);
    tree[node] = next < count ? value(next) : std::numeric_limits<T>::infinity();
    ++next;
    fill(tree, 2 * node + 1, next, count, value);
}

void make_search_trees(Column& column) {
    const std::vector<double>& sorted = column.thresholds;
    while ((size_t{1} << column.levels) <= sorted.size()) ++column.levels;
    size_t next = 0;
    column.narrow_tree.resize(size_t{1} << column.levels);
    fill(column.narrow_tree, 1, next, sorted.size(), [&](size_t i) { return round_down(sorted[i]); });
    next = 0;
    column.wide_tree.resize(size_t{1} << column.levels);
    fill(column.wide_tree, 1, next, sorted.size(), [&](size_t i) { return sorted[i]; });
}

template <class T>
void make_distinct(std::vector<T>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

// How many are below the value. Without a branch: of a million values, half of all steps would be
// mispredicted.
template <class T>
uint32_t rank_of(const std::vector<T>& sorted, T value) {
    if (sorted.empty()) return 0;
    const T* from = sorted.data();
    for (size_t left = sorted.size(); left > 1;) {
        const size_t half = left / 2;
        from += half * static_cast<size_t>(from[half - 1] < value);
        left -= half;
    }
    return static_cast<uint32_t>(from - sorted.data()) + (*from < value ? 1 : 0);
}

}  // namespace

// Nodes with tests, sorted by the columns of these: column c has those from first[c] to first[c + 1].
struct Coder::Members {
    std::vector<size_t> first;
    std::vector<uint32_t> nodes;
};

Coder::Members Coder::find_columns(const Trees& trees) {
    std::unordered_map<int64_t, uint32_t> numbers;
    Members members;
    for (size_t i = 0; i < trees.nodes; ++i) {
        if (trees.is_leaf(i)) continue;
        const bool zero = trees.zero_is_missing != nullptr && trees.zero_is_missing[i] != 0;
        const int64_t key = int64_t{trees.feature[i]} * 4 + (zero ? 2 : 0) + (trees.is_set(i) ? 1 : 0);
        const auto [found, added] = numbers.try_emplace(key, static_cast<uint32_t>(columns_.size()));
        if (added) {
            columns_.emplace_back();
            columns_.back().feature = trees.feature[i];
            columns_.back().zero_is_missing = zero;
            columns_.back().categorical = trees.is_set(i);
            members.first.push_back(0);
        }
        tests_[i] = {found->second, 0, 0, trees.is_set(i), trees.missing_left[i] != 0};
        ++members.first[found->second];
    }
    members.first.push_back(0);
    std::exclusive_scan(members.first.begin(), members.first.end(), members.first.begin(), size_t{0});
    members.nodes.resize(members.first.back());
    std::vector<size_t> next = members.first;
    for (size_t i = 0; i < trees.nodes; ++i) {
        if (!trees.is_leaf(i)) members.nodes[next[tests_[i].column]++] = static_cast<uint32_t>(i);
    }
    return members;
}

void Coder::rank_thresholds(const Trees& trees, Column& column, const uint32_t* nodes, size_t count) {
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = trees.threshold[nodes[i]] + 0.0;  // -0 becomes 0
    column.thresholds = values;
    make_distinct(column.thresholds);
    make_search_trees(column);
    for (size_t i = 0; i < count; ++i) tests_[nodes[i]].bound = rank_of(column.thresholds, values[i]);
}

void Coder::list_categories(const Trees& trees, Column& column, const uint32_t* nodes, size_t count) {
    for (const Trees::Known& known : trees.known) {
        if (known.feature != column.feature) continue;
        column.only_known = true;
        column.categories = known.categories;
    }
    for (size_t i = 0; i < count && !column.only_known; ++i) {
        const auto set = static_cast<size_t>(trees.category_set[nodes[i]]);
        column.categories.insert(column.categories.end(), trees.set_values + trees.set_first[set],
                                 trees.set_values + trees.set_first[set + 1]);
    }
    make_distinct(column.categories);
}

Coder::Coder(const Trees& trees, int num_threads)
    : tests_(trees.nodes),
      narrow_(trees.narrow),
      rules_{trees.narrow, trees.negative_fractions, trees.whole_categories} {
    const Members members = find_columns(trees);
    parallel_for(columns_.size(), 1, num_threads, [&](size_t c, size_t) {
        const uint32_t* const nodes = members.nodes.data() + members.first[c];
        const size_t count = members.first[c + 1] - members.first[c];
        if (columns_[c].categorical) {
            list_categories(trees, columns_[c], nodes, count);
        } else {
            rank_thresholds(trees, columns_[c], nodes, count);
        }
    });
    std::map<std::pair<uint32_t, int32_t>, uint32_t> set_numbers;  // of a column and a set
    for (size_t i = 0; i < trees.nodes; ++i) {
        if (trees.is_leaf(i)) continue;
        Test& test = tests_[i];
        const Column& column = columns_[test.column];
        if (!test.set) continue;
        const auto [found, added] = set_numbers.try_emplace({test.column, trees.category_set[i]},
                                                            static_cast<uint32_t>(sets_.size()));
        test.bound = found->second;
        if (!added) continue;
        CodeSet set{std::vector<uint32_t>(column.last_code() / 32 + 1)};
        const auto number = static_cast<size_t>(trees.category_set[i]);
        for (int64_t v = trees.set_first[number]; v < trees.set_first[number + 1]; ++v) {
            const uint32_t rank = rank_of(column.categories, trees.set_values[v]);
            if (rank == column.categories.size() || column.categories[rank] != trees.set_values[v]) continue;
            set.words[(rank + 2) / 32] |= 1u << (rank + 2) % 32;
        }
        sets_.push_back(std::move(set));
    }
    number_tests(trees);
}

// Tests that differ are as many as thresholds and sets, twice: the missing go left or right.
void Coder::number_tests(const Trees& trees) {
    std::vector<uint32_t> first(columns_.size());
    for (size_t c = 0; c < columns_.size(); ++c) {
        first[c] = test_numbers_;
        test_numbers_ += static_cast<uint32_t>(2 * columns_[c].thresholds.size());
    }
    for (size_t i = 0; i < trees.nodes; ++i) {
        if (trees.is_leaf(i)) continue;
        Test& test = tests_[i];
        test.number =
            (test.set ? test_numbers_ : first[test.column]) + 2 * test.bound + (test.missing_left ? 1 : 0);
    }
    test_numbers_ += static_cast<uint32_t>(2 * sets_.size());
}

void Coder::code(const Column& column, const Input& input, size_t begin, size_t count, uint32_t* out) const {
    if (column.categorical) {
        PYSCALE_PICK_ISA(code_categories)(column, rules_, input, begin, count, out);
    } else if (narrow_ || !input.wide) {
        PYSCALE_PICK_ISA(code_narrow)(column, input, begin, count, out);
    } else {
        PYSCALE_PICK_ISA(code_wide)(column, input, begin, count, out);
    }
}

}  // namespace pyscale::forest
