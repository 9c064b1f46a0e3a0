// The best rows of a matrix for each query: exact, and the same bits whatever the batch and the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/dense/packed.h"

namespace pyscale::topk {

enum class Metric : uint8_t { inner_product, l2, cosine };

// A product is a sum in the order of the columns, each step a fused multiply-add with one rounding. A squared
// distance is such a sum of the squares of differences: by way of products, near rows that are far from zero
// could not be told apart. A cosine is a product of rows divided by their lengths in double precision.
class TopK {
   public:
    // rows[count][width], finite. Of cosine, `unit` says that they have been divided already. Throws
    // std::invalid_argument otherwise.
    TopK(const float* rows, size_t count, size_t width, Metric metric, bool unit);

    size_t count() const { return packed_->outputs(); }
    size_t width() const { return packed_->inputs(); }
    size_t bytes() const { return packed_->bytes(); }
    // As they are kept: of cosine, divided.
    void copy_rows(float* out) const;

    // queries[number][width] -> scores[number][k] and indices[number][k], the best first, the smaller row
    // first among equal ones, rows with a score of NaN last; 1 <= k <= count(). A row's index is ids[row]
    // where there are ids. Safe in any number of threads at once.
    void search(const float* queries, size_t number, size_t k, const int64_t* ids, float* scores,
                int64_t* indices, int num_threads) const;

   private:
    struct Call;
    void search_tile(const Call& call, size_t first, size_t number, size_t first_panel, size_t panels,
                     uint64_t* keys) const;
    void answer(const Call& call, size_t query, const uint64_t* keys) const;

    Metric metric_;
    std::unique_ptr<dense::Packed> packed_;
};

}  // namespace pyscale::topk
