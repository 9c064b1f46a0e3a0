// Sums, means and largest values of rows of a table, bag by bag.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/dense/packed.h"
#include "kernels/gather.h"

namespace pyscale::embedding {

enum class Mode : uint8_t { sum, mean, max };

// Bag b has the indices from offsets[b] to the next offset, or to `end` where it is the last; or `each` of
// them where there are no offsets.
struct Bags {
    Indices indices;
    size_t count;
    const int64_t* offsets;  // count, or null
    size_t end, each;
    const float* weights;  // of the indices, of sums; or null
    int64_t padding;       // an index that is left out; -1: none
};

class Table {
   public:
    // rows[count][width] of float32, float16 or bfloat16, whose bytes are copied.
    Table(const void* rows, size_t count, size_t width, DType dtype);

    size_t count() const { return count_; }
    size_t width() const { return width_; }
    DType dtype() const { return dtype_; }
    size_t bytes() const { return count_ * width_ * itemsize(dtype_); }
    const void* data() const { return rows_.get(); }

    // out[bag][width]. Rows are added in the order of the indices, each addition rounded once, with weights
    // as fused multiply-adds; a mean is a sum divided by the number of rows. Of none it is 0. NaN comes out
    // as the positive quiet one. The indices and offsets must have been checked. Safe in any number of
    // threads at once.
    void reduce(const Bags& bags, Mode mode, float* out, int num_threads) const;

   private:
    size_t count_, width_;
    DType dtype_;
    dense::Pages rows_;
};

}  // namespace pyscale::embedding
