// Decision trees as the importers give them: see pyscale/infer/forest/trees.py, which says what each means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyscale::forest {

// Memory of the caller's; check() before anything else looks at it.
struct Trees {
    int64_t features;
    int32_t outputs;
    bool narrow;       // inputs and thresholds are float32, else float64
    bool narrow_sums;  // so are the sums

    size_t count;
    const int64_t* first;   // count + 1
    const int32_t* output;  // count

    size_t nodes;
    const int32_t* feature;  // -1: a leaf
    const double* threshold;
    const int32_t *left, *right;  // numbers in the tree; of a leaf, left is its row of values
    const uint8_t* missing_left;
    const uint8_t* zero_is_missing;  // or nullptr
    const int32_t* category_set;     // or nullptr; -1: a threshold decides

    size_t sets;
    const int64_t* set_first;   // sets + 1
    const int32_t* set_values;  // ascending in each set
    struct Known {              // a feature's categories, ascending
        int32_t feature;
        std::vector<int32_t> categories;
    };
    std::vector<Known> known;
    bool negative_fractions;
    bool whole_categories;  // a value with a fraction is no category

    size_t leaves;
    int32_t width;
    const double* values;  // leaves x width
    const double* base;    // outputs: what sums begin with
    bool base_last;        // or what is added to them last

    // What leaves add where that is more than their value; linear_first is nullptr where it is not.
    const double* linear_constant;     // leaves
    const int64_t* linear_first;       // leaves + 1
    const int32_t* linear_feature;     // terms
    const double* linear_coefficient;  // terms
    size_t linear_terms;

    bool is_leaf(size_t node) const { return feature[node] < 0; }
    bool is_set(size_t node) const { return category_set != nullptr && category_set[node] >= 0; }
};

// Throws std::invalid_argument, which names the place, for what is no trees: after it, every node is reached
// from its root exactly once, and every index is in its range.
void check(const Trees& trees);

}  // namespace pyscale::forest
