// Inputs as the ranks of their values among a model's own thresholds. Comparing x <= t is then comparing two
// small integers: exact, whatever the type of x, and many to a register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/forest/trees.h"

namespace pyscale::forest {

// Rows of values that are given: float64 where wide, else float32. Strides are in bytes and may be anything.
struct Input {
    const char* data;
    int64_t row_stride, column_stride;
    bool wide;
};

// What all nodes that compare one feature in one way share. Codes are
//   0               missing
//   r + 1           of a number that is larger than r of the thresholds: x <= thresholds[k] is code <= k + 1
//   1               of a category that no set names
//   c + 2           of category number c of those that are named
struct Column {
    int32_t feature;
    bool zero_is_missing = false;
    bool categorical = false;
    bool only_known = false;  // categories that are not named are missing

    std::vector<double> thresholds;   // distinct, ascending
    std::vector<int32_t> categories;  // likewise

    // Binary search trees of the thresholds, filled up with infinity, level by level: level l begins at 2^l
    // and has 2^l. The float32 ones are the thresholds rounded down, for inputs of float32.
    int levels = 0;
    std::vector<float> narrow_tree;
    std::vector<double> wide_tree;

    uint32_t last_code() const {
        return static_cast<uint32_t>(categorical ? categories.size() : thresholds.size()) + 1;
    }
};

// A node's test: code <= bound + 1, or whether the set with that number has the code; the missing go left or
// not.
struct Test {
    uint32_t column;
    uint32_t bound;
    uint32_t number;  // of those that differ: the same for nodes that test the same
    bool set;
    bool missing_left;
};

// Which values are categories, beside whole ones from 0 on.
struct CategoryRules {
    bool narrow;              // values are rounded to float32 first
    bool negative_fractions;  // -1 < x < 0 is category 0
    bool whole;               // a value with a fraction is none
};

// A set of codes, as bits.
struct CodeSet {
    std::vector<uint32_t> words;  // the codes that go left, but 0
};

class Coder {
   public:
    // As many rows as are coded in one piece.
    static constexpr size_t kRows = 64;

    Coder(const Trees& trees, int num_threads);

    const std::vector<Column>& columns() const { return columns_; }
    const std::vector<Test>& tests() const { return tests_; }  // one a node; nothing at leaves
    const std::vector<CodeSet>& sets() const { return sets_; }
    uint32_t test_numbers() const { return test_numbers_; }  // all tests' are below

    // The codes of one column of `count` rows, at most kRows, from row `begin` on. Out has room for kRows;
    // from 5 rows on, all of it is written.
    void code(const Column& column, const Input& input, size_t begin, size_t count, uint32_t* out) const;

   private:
    struct Members;
    Members find_columns(const Trees& trees);
    void rank_thresholds(const Trees& trees, Column& column, const uint32_t* nodes, size_t count);
    void list_categories(const Trees& trees, Column& column, const uint32_t* nodes, size_t count);
    void number_tests(const Trees& trees);

    std::vector<Column> columns_;
    std::vector<Test> tests_;
    std::vector<CodeSet> sets_;
    uint32_t test_numbers_ = 0;
    bool narrow_;  // values are rounded to float32
    CategoryRules rules_;
};

}  // namespace pyscale::forest
