#include "kernels/partition.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/errors.h"
#include "core/half.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own intrinsics
#endif
#define PYSCALE_ISA_INC "kernels/partition.inc"
#include "core/for_each_isa.h"

namespace pyscale {

namespace {

// False where one of the destinations is no rank.
bool read_part(const Destinations& destinations, size_t first, size_t count, size_t ranks, uint32_t* to) {
    const auto* from = reinterpret_cast<const char*>(destinations.data);
    const ptrdiff_t stride = destinations.stride;
    return PYSCALE_PICK_ISA(read_ranks)(destinations.dtype, from + static_cast<ptrdiff_t>(first) * stride,
                                        stride, count, ranks, to);
}

}  // namespace

size_t count_destinations(const Destinations& destinations, size_t rows, size_t ranks, uint64_t* counts) {
    constexpr size_t kBlock = 4096;
    uint32_t to[kBlock];
    std::fill_n(counts, ranks, 0);
    for (size_t first = 0; first < rows; first += kBlock) {
        const size_t count = std::min(kBlock, rows - first);
        if (!read_part(destinations, first, count, ranks, to)) {
            size_t row = first;
            while (read_part(destinations, row, 1, ranks, to)) ++row;
            return row;
        }
        PYSCALE_PICK_ISA(add_counts)(to, count, counts, ranks);
    }
    return rows;
}

Partition::Partition(const Rows& rows, const Destinations& destinations, size_t ranks, size_t window_bytes)
    : rows_(rows), destinations_(destinations), counts_(ranks) {
    window_bytes = std::max<size_t>(window_bytes, 1);
    parts_ = rows.bytes > window_bytes ? (rows.bytes + window_bytes - 1) / window_bytes : 1;
    part_bytes_ = parts_ > 1 ? window_bytes : rows.bytes;
    // A window's destinations take no more room than its rows may.
    const size_t row_bytes = std::max(part_bytes_, sizeof(uint32_t));
    window_rows_ = parts_ > 1 ? 1 : std::max<size_t>(window_bytes / row_bytes, 1);
    window_rows_ = std::min(window_rows_, std::max<size_t>(rows.count, 1));
    windows_ = parts_ * (rows.count / window_rows_ + (rows.count % window_rows_ != 0));
    ranks_.resize(window_rows_);
}

void Partition::read(size_t window) {
    std::fill(counts_.begin(), counts_.end(), 0);
    part_ = {nullptr, rows_.stride, 0, 0};
    if (window >= windows_) return;
    const size_t first = window / parts_ * window_rows_, skipped = window % parts_ * part_bytes_;
    part_.data = rows_.data + static_cast<ptrdiff_t>(first) * rows_.stride + skipped;
    part_.bytes = std::min(part_bytes_, rows_.bytes - skipped);
    part_.count = std::min(window_rows_, rows_.count - first);
    if (!read_part(destinations_, first, part_.count, ranks(), ranks_.data())) {
        part_.count = 0;
        throw_expected("destinations", "ranks, as they were when they were counted", "others");
    }
    PYSCALE_PICK_ISA(add_counts)(ranks_.data(), part_.count, counts_.data(), ranks());
}

void Partition::write(std::byte** cursors) const {
    PYSCALE_PICK_ISA(place_rows)(part_.bytes, reinterpret_cast<const char*>(part_.data), part_.stride,
                                 ranks_.data(), part_.count, reinterpret_cast<char**>(cursors));
}

}  // namespace pyscale
