// Splitting samples over ranks so that the ranks have about the same to do.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale {

// A sample of length L costs linear L + quadratic L^2. The largest sum of costs of a rank is to be small.
//
// equal_counts: numbers of samples differ by one at most. The largest sum is then at most the mean plus the
// largest cost, so twice the least possible; else at most 4/3 of the least possible (Graham, "Bounds on
// multiprocessing timing anomalies", 1969). Of up to kLargestProven samples it is the least possible, and of
// many samples a rank it is as good as the mean, or as what the longest sample leaves no choice about.
//
// Rank r gets the samples order[offsets[r]] to order[offsets[r + 1] - 1], ascending; order has room for n,
// and offsets for num_ranks + 1, of which there is at least one.
//
// Sums are kept in integers, and the work is limited by counting steps: the same on every machine. Throws
// std::invalid_argument for lengths and factors that are negative, infinite or NaN, and for costs that
// overflow.
constexpr size_t kLargestProven = 12;
void balance(const double* lengths, size_t n, size_t num_ranks, double linear, double quadratic,
             bool equal_counts, int64_t* order, int64_t* offsets);

}  // namespace pyscale
