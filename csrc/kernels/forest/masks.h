// Trees of few leaves, evaluated for many rows at once as logic on bits.
//
// A block's rows are the bits of words. Each distinct test of the model becomes one word a block: which rows
// go left. The number of the leaf that a row reaches is a few bits, of which each is a choice, at every node,
// between that bit in the left and in the right subtree: mux(test, left, right), for all rows at once. A
// table then turns numbers into values. Every node is evaluated for every row, without a branch.
//
// After QuickScorer (Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive
// ensembles of regression trees", 2015), whose bits are leaves, not rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/forest/codes.h"
#include "kernels/forest/trees.h"

namespace pyscale::forest {

constexpr int kMostBits = 8;  // of a leaf's number

// Addresses are in units of the words of an eighth of a block: so 16 bits reach 8191 entries, and an
// instruction scales them.
struct Mux {
    uint16_t test, left, right, to;
};

class Masks {
   public:
    // Codes of one column in bytes: clamp(code - 1 - first, 0, 254) + 1 of a number, 0 where it is missing.
    struct Plane {
        uint32_t column;
        uint32_t first;  // the rank that it begins with
    };
    struct Predicate {
        uint16_t to;
        uint8_t bound;
        bool missing_left;
        int32_t set;  // or -1
    };
    struct Stretch {  // the predicates of one plane
        uint32_t plane, begin, end;
    };
    struct Tree {
        uint32_t begin, end;  // of muxes
        uint32_t table;       // where its values begin
        int32_t output;
        uint8_t bits;
        uint16_t planes[kMostBits];  // of the leaves' numbers
    };
    struct Tile {  // trees that share their predicates' words
        uint32_t begin, end;
        uint32_t stretches_begin, stretches_end;
    };

    // Whether it can take these trees: not more than 2^kMostBits leaves each, and not many categories.
    static bool can_take(const Trees& trees, const Coder& coder);

    Masks(const Trees& trees, const Coder& coder);

    // Of the nodes down to those that are cut, which count as leaves without values: `leaf_nodes` says which
    // node each number stands for. Tiles have at most so many predicates and trees.
    Masks(const Trees& trees, const Coder& coder, const std::vector<bool>& cut, uint32_t most_predicates,
          uint32_t most_trees);

    // Codes so many rows for the functions below, into `codes`, which is code_bytes() for each 512 rows; and
    // prepares `bits`, which is scratch_bytes(words) large.
    void code(const Coder& coder, const Input& input, size_t first_row, size_t rows, int words, char* bits,
              char* codes) const;

    // Adds the values of trees begin to end, in their order, to sums[output][row], for one block. words is 1
    // or 8, for 64 and 512 rows; a value is a float or a double.
    template <class T>
    void add(int words, size_t begin, size_t end, const char* codes, char* bits, T* sums) const;

    // The same in steps, of blocks of 512 rows: the predicates of a tile; then for each of its trees the
    // numbers of the leaves that the rows reach.
    void make_predicates(const Tile& tile, const char* codes, char* bits) const;
    void number(const Tree& tree, char* bits, uint8_t* numbers) const;

    size_t scratch_bytes(int words) const;
    size_t code_bytes() const { return planes.size() * 512; }

    // What the kernels read.
    std::vector<Plane> planes;
    std::vector<Predicate> predicates;
    std::vector<Stretch> stretches;
    std::vector<Mux> muxes;
    std::vector<Tree> trees;
    std::vector<Tile> tiles;
    std::vector<uint8_t> sets;  // 32 bytes each: bits of codes
    // [tree][width][2^bits], in one of them.
    std::vector<float> narrow_table;
    std::vector<double> wide_table;
    std::vector<uint32_t> leaf_nodes;  // like a table of width 1; only where nodes are cut
    int width = 1;
    uint32_t entries = 0;  // words of a block: two constants, the temporary ones, a tile's predicates
};

}  // namespace pyscale::forest
