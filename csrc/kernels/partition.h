// Rows to the ranks that they are for: a stable counting sort by destination, window by window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace pyscale {

struct Rows {
    const std::byte* data;
    ptrdiff_t stride;  // from one row to the next
    size_t bytes;      // of a row, which has no gaps
    size_t count;
};

// One integer a row, of any type.
struct Destinations {
    const std::byte* data;
    ptrdiff_t stride;
    DType dtype;
};

// Sets counts[d] to the number of rows for each of the ranks. Returns the first row whose destination is none
// of them, and `rows` where there is none; the counts are then of no use.
size_t count_destinations(const Destinations& destinations, size_t rows, size_t ranks, uint64_t* counts);

// Rows are taken in windows of about so many bytes. A row that is larger goes in several windows, so that
// what a rank gets of all windows, one after the other, are its rows.
class Partition {
   public:
    Partition(const Rows& rows, const Destinations& destinations, size_t ranks, size_t window_bytes);

    size_t ranks() const { return counts_.size(); }
    size_t windows() const { return windows_; }
    // Looks where the rows of a window go; windows past the last are empty. Destinations are read here and
    // nowhere else, so that whoever changes them meanwhile can do no harm. Throws std::invalid_argument for
    // one that is no rank.
    void read(size_t window);
    // Of the window read last: how many bytes are for a rank.
    size_t bytes(size_t rank) const { return counts_[rank] * part_.bytes; }
    // Copies them, in the order of the rows: what is for rank d to cursors[d], which is moved on. Where that
    // is null, they are left out.
    void write(std::byte** cursors) const;

   private:
    Rows rows_, part_{};  // part_: of the window read last
    Destinations destinations_;
    size_t parts_;  // windows a row, for large rows
    size_t part_bytes_, window_rows_, windows_;
    std::vector<uint32_t> ranks_;  // where the rows of the window go
    std::vector<uint64_t> counts_;
};

}  // namespace pyscale
