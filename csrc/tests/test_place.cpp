// Rows put where a list says, beside a loop over bytes.
#include <algorithm>
#include <numeric>
#include <random>

#include "check.h"
#include "kernels/place.h"

using pyscale::Move;

namespace {

void check_rows(size_t bytes, size_t rows, bool listed, int64_t gap) {
    std::mt19937_64 random(bytes * 1000 + rows);
    const int64_t stride = static_cast<int64_t>(bytes) + gap;
    std::vector<char> source((rows + 1) * static_cast<size_t>(stride)), out(source.size(), 7), expected(out);
    for (char& c : source) c = static_cast<char>(random());
    std::vector<uint32_t> from(rows), to(rows);
    std::iota(from.begin(), from.end(), 0u);
    std::iota(to.begin(), to.end(), 0u);
    if (listed) std::shuffle(from.begin(), from.end(), random);
    std::shuffle(to.begin(), to.end(), random);
    for (size_t i = 0; i < rows; ++i)
        for (size_t b = 0; b < bytes; ++b)
            expected[to[i] * static_cast<size_t>(stride) + b] =
                source[from[i] * static_cast<size_t>(stride) + b];
    const Move moves[] = {{source.data(), stride, out.data(), stride, bytes}};
    pyscale::place(moves, 1, listed ? from.data() : nullptr, to.data(), rows);
    CHECK(out == expected);
}

}  // namespace

TEST(rows_of_all_sizes) {
    for (const size_t bytes : {0, 1, 2, 3, 4, 8, 12, 16, 100})
        for (const size_t rows : {0, 1, 2, 1000})
            for (const bool listed : {false, true})
                for (const int64_t gap : {0, 5}) check_rows(bytes, rows, listed, gap);
}

TEST(of_one_place_the_last_stays) {
    const int64_t source[] = {1, 2, 3};
    int64_t out[] = {0, 0};
    const uint32_t to[] = {1, 1, 1};
    const Move moves[] = {{reinterpret_cast<const char*>(source), 8, reinterpret_cast<char*>(out), 8, 8}};
    pyscale::place(moves, 1, nullptr, to, 3);
    CHECK(out[0] == 0 && out[1] == 3);
}
