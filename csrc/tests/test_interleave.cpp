// Mixtures beside counting.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "kernels/interleave.h"

using pyscale::Interleave;

namespace {

void check_epochs(const std::vector<int64_t>& weights, int64_t length, uint64_t seed) {
    const size_t parts = weights.size();
    std::vector<std::vector<int64_t>> numbers(parts);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
        const Interleave interleave(weights, length, seed, epoch);
        std::vector<int64_t> positions(static_cast<size_t>(length)), part(positions.size()),
            number(positions.size()), counts(parts), before(parts);
        std::iota(positions.begin(), positions.end(), 0);
        interleave.locate(positions.data(), positions.size(), part.data(), number.data());
        interleave.counts(0, before.data());
        for (size_t i = 0; i < positions.size(); ++i) {
            CHECK(part[i] >= 0 && static_cast<size_t>(part[i]) < parts &&
                  weights[static_cast<size_t>(part[i])] > 0);
            numbers[static_cast<size_t>(part[i])].push_back(number[i]);
            ++before[static_cast<size_t>(part[i])];
            if (i % 61 == 0) {
                interleave.counts(static_cast<int64_t>(i) + 1, counts.data());
                CHECK(counts == before);
            }
        }
    }
    for (auto& of_part : numbers) {  // each part's draws are 0, 1, 2, ...
        std::sort(of_part.begin(), of_part.end());
        for (size_t i = 0; i < of_part.size(); ++i) CHECK(of_part[i] == static_cast<int64_t>(i));
    }
}

}  // namespace

TEST(every_draw_is_counted) {
    for (const int64_t length : {1, 2, 255, 256, 257, 1000}) {
        check_epochs({1}, length, 0);
        check_epochs({0, 5, 0}, length, 1);
        check_epochs({1, 1}, length, 2);
        check_epochs({7, 1, 1, 300, 0, 2, 2}, length, 3);
        check_epochs({int64_t{1} << 60, 1, int64_t{1} << 59}, length, 4);
    }
}

TEST(products_need_128_bits_far_into_the_stream) {
    const Interleave far({3, int64_t{1} << 40, 5}, int64_t{1} << 44, 9, 1000);
    std::vector<int64_t> counts(3);
    far.counts((int64_t{1} << 44) - 1, counts.data());
    CHECK(std::accumulate(counts.begin(), counts.end(), int64_t{0}) == 1001 * (int64_t{1} << 44) - 1);
}
