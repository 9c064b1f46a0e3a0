// Trees walked from the root down, several rows or several trees side by side: while one waits for memory,
// the others go on. For deep trees, of which a row sees little, and for few rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/aligned.h"
#include "kernels/forest/codes.h"
#include "kernels/forest/layout.h"
#include "kernels/forest/trees.h"

namespace pyscale::forest {

// Linear functions of leaves: the constant, and coefficients times features in turn. If one of these is NaN,
// the leaf's value instead. Tiny ones count as 0, as LightGBM has it.
struct Linear {
    std::vector<double> constant, coefficient;
    std::vector<int64_t> first;
    std::vector<int32_t> feature;

    double operator()(size_t leaf, double value, const char* row, int64_t column_stride, bool wide) const;
};

class Walk {
   public:
    static constexpr size_t kLanes = 16;  // rows of a group

    // Goes to `child` if the code is at most the bound, else to the node after it. A leaf is its own child,
    // and all codes are within its bound.
    struct Node {
        uint16_t bound;
        uint16_t code;  // where it is in a group's codes; unless `general`, see there
        uint32_t child;
    };
    // Codes of one column in 16 bits, as Masks::Plane has them in 8. Where the missing go right, all are one
    // less, and so the missing the largest.
    struct Plane {
        uint32_t column;
        uint32_t first;
        bool missing_left;
    };
    struct Tree {
        uint32_t root;
        uint32_t depth, least_depth;  // of its leaves
        int32_t output;
        uint32_t first_value;  // its first row of values; they are in the order of the places
    };

    // Whether it can take these trees: not more than 2^16 planes, nor categories of one feature.
    static bool can_take(const Trees& trees, const Coder& coder);

    Walk(const Trees& trees, const Coder& coder, const Layout& layout);

    size_t scratch_bytes(size_t rows) const;  // for the codes of so many rows

    // Codes rows for the functions below; `scratch` is scratch_bytes(rows) large. Where rows are so few that
    // they go one by one, only add_from needs whole groups.
    void code(const Coder& coder, const Input& input, size_t first_row, size_t rows, char* scratch,
              bool whole_groups = false) const;

    // Adds the values of trees begin to end, in their order, to sums[output][row], whose rows are `stride`
    // apart.
    template <class T>
    void add(size_t rows, size_t begin, size_t end, T* sums, size_t stride, const char* scratch) const;

    // The same of one tree, for rows that start at places of it: row i at starts[numbers[i]], all at
    // starts[0] where numbers is nullptr; from there it is `sure` to `most` steps to a leaf. Numbers are
    // padded to groups.
    template <class T>
    void add_from(size_t tree, const uint32_t* starts, const uint8_t* numbers, uint32_t sure, uint32_t most,
                  size_t rows, T* sums, size_t stride, const char* scratch) const;

    // The same of leaves that have linear functions.
    void add_linear(const Linear& linear, const Input& input, size_t first_row, size_t rows, size_t begin,
                    size_t end, double* sums, size_t stride, const char* scratch) const;

    // Asks for part p of q of what walking a tree reads, so that it is in the second-level cache in time.
    void prefetch(size_t tree, size_t p, size_t q) const;

    // out[row][tree - begin]: the leaf that is reached, by its number in its tree.
    void leaves(size_t rows, size_t begin, size_t end, int32_t* out, const char* scratch) const;

    std::vector<Plane> planes;
    LineVector<Node> nodes;  // at the places of the layout; an empty place is its own child
    std::vector<Tree> trees;
    // What is beside each node: at a leaf its row of values, at a node with a set where that begins.
    std::vector<uint32_t> beside;
    // With a width of 1, the leaves' values are beside them as well.
    std::vector<float> narrow_beside;
    std::vector<double> wide_beside;
    std::vector<uint32_t> set_words;
    std::vector<int32_t> numbers;  // of the nodes, in the model's own order; -1: nothing is here
    std::vector<float> narrow_values;
    std::vector<double> wide_values;
    std::vector<uint32_t> model_rows;  // of values, in the model's own order
    int width = 1;
    // Where there are sets, or more planes than 16 bits can address in a group's codes, a node has the
    // plane's number, and kSet where a set is beside it.
    bool general = false;
    static constexpr uint16_t kSet = 0x8000;

   private:
    void reach_leaves(size_t rows, uint32_t sure, uint32_t most, const uint16_t* codes,
                      uint32_t* places) const;
    template <class T>
    void add_leaves(const uint32_t* places, size_t rows, T* sums, size_t stride) const;
    template <class F>
    void walk_all(size_t rows, size_t begin, size_t end, const char* scratch, const F& reached) const;
    bool large_ = false;  // more than a second-level cache holds
    void keep_values(const Trees& trees);
    std::vector<uint32_t> roots_;  // and the number of places last
    void sort_planes();
    void point_nodes_at_codes();
};

}  // namespace pyscale::forest
