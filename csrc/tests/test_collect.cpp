// Rows of arrays of all layouts beside an index calculation.
#include <vector>

#include "check.h"
#include "kernels/collect.h"

using pyscale::Piece;

namespace {

void check_bytes(size_t bytes, size_t columns) {
    std::vector<char> memory(1 << 14);
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<char>(i * 31 + i / 251);
    const auto wide = static_cast<int64_t>(bytes), row = static_cast<int64_t>(bytes * columns);
    const char* const middle = memory.data() + memory.size() / 2;
    const std::vector<Piece> pieces = {
        {middle, 1, row, wide},       // one row
        {middle, 3, row, wide},       // dense
        {middle, 3, row + 8, wide},   // rows with gaps
        {middle, 2, wide, 3 * wide},  // by columns
        {middle, 3, -row, -wide},     // backwards
        {middle, 2, 0, 0},            // one element everywhere
        {middle, 0, row, wide},       // none
    };
    std::vector<char> expected;
    for (const Piece& piece : pieces) {
        for (size_t r = 0; r < piece.rows; ++r) {
            for (size_t c = 0; c < columns; ++c) {
                const char* const from = piece.data + static_cast<int64_t>(r) * piece.row_stride +
                                         static_cast<int64_t>(c) * piece.column_stride;
                expected.insert(expected.end(), from, from + bytes);
            }
        }
    }
    std::vector<char> out(expected.size() + 1, 'x');
    pyscale::collect(pieces.data(), pieces.size(), columns, bytes, out.data());
    expected.push_back('x');
    CHECK(out == expected);
}

}  // namespace

TEST(pieces_of_all_layouts_lie_one_below_the_other) {
    for (const size_t bytes : {1, 2, 4, 8, 16}) {
        for (const size_t columns : {0, 1, 2, 7, 30}) check_bytes(bytes, columns);
    }
}
