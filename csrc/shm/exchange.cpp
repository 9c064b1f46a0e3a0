// Rows to the ranks that they are for, through staging: each is read once and written into the staging buffer
// of its window, sorted by rank, from where its rank copies it to the output. What a rank keeps goes to the
// output at once.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/errors.h"
#include "kernels/copy.h"
#include "shm/collectives.h"
#include "shm/pieces.h"

namespace pyscale {

namespace {

// At the start of a staging buffer: where the bytes for each rank end, the first's beginning behind the
// table.
size_t table_bytes(size_t ranks) {
    return (ranks * sizeof(uint64_t) + kCacheLine - 1) / kCacheLine * kCacheLine;
}

// What has come, and what is still to come from each rank.
class Arrivals {
   public:
    Arrivals(const std::vector<std::byte*>& outputs, const std::vector<uint64_t>& bytes)
        : next_(outputs), left_(bytes) {}

    // Where the next bytes from a rank go.
    std::byte* take(size_t rank, uint64_t bytes) {
        if (bytes > left_[rank]) throw_changed();
        left_[rank] -= bytes;
        std::byte* const at = next_[rank];
        next_[rank] += bytes;
        return at;
    }
    void check_all_came() const {
        for (const uint64_t bytes : left_) {
            if (bytes > 0) throw_changed();
        }
    }

   private:
    [[noreturn]] static void throw_changed() {
        throw_expected("destinations", "ranks, as they were when they were counted", "others");
    }

    std::vector<std::byte*> next_;
    std::vector<uint64_t> left_;
};

uint64_t most_windows(Group& group) {
    uint64_t most = 0;
    for (int peer = 0; peer < group.size(); ++peer) {
        uint64_t windows;
        std::memcpy(&windows, group.letter(peer).announcement.payload, sizeof windows);
        most = std::max(most, windows);
    }
    return most;
}

void move_rows(Group& group, Partition& rows, const std::vector<size_t>& ranks, Arrivals& arrivals,
               uint64_t windows) {
    const auto members = static_cast<size_t>(group.size()), self = static_cast<size_t>(group.rank());
    const Pieces pieces(group, windows, 1);
    group.advance_pieces(windows);
    std::vector<std::byte*> cursors(rows.ranks());
    const auto pack = [&](size_t i) {
        rows.read(i);
        std::byte* const staging = group.staging(group.rank(), pieces.number(i));
        uint64_t end = table_bytes(members);
        for (size_t to = 0; to < members; ++to) {
            const size_t bytes = rows.bytes(ranks[to]);
            cursors[ranks[to]] = to == self ? arrivals.take(self, bytes) : staging + end;
            if (to != self) end += bytes;
            std::memcpy(staging + to * sizeof end, &end, sizeof end);
        }
        rows.write(cursors.data());
    };
    const auto unpack = [&](size_t i) {
        for (size_t k = 1; k < members; ++k) {
            const size_t from = (self + k) % members;
            const std::byte* const staging = group.staging(static_cast<int>(from), pieces.number(i));
            uint64_t start = table_bytes(members), end;
            if (self > 0) std::memcpy(&start, staging + (self - 1) * sizeof start, sizeof start);
            std::memcpy(&end, staging + self * sizeof end, sizeof end);
            copy_bytes(arrivals.take(from, end - start), staging + start, end - start);
        }
    };
    group.stores().begin(Collective::exchange,
                         0);  // rows are written one by one, whatever is fastest for arrays
    pack(0);
    group.step();
    run_pipeline(group, windows, pack, unpack);
}

}  // namespace

size_t largest_window(const Group& group) {
    return Group::kStagingBufferBytes - table_bytes(static_cast<size_t>(group.size()));
}

void exchange(Group& group, Call call, Partition& rows, const std::vector<size_t>& ranks,
              const std::vector<std::byte*>& outputs, const std::vector<uint64_t>& output_bytes) {
    call.collective = Collective::exchange;
    Letter& letter = group.open(call, 0);
    const uint64_t own = rows.windows();
    std::memcpy(letter.announcement.payload, &own, sizeof own);
    group.announce();
    group.meet();
    Arrivals arrivals(outputs, output_bytes);
    try {
        if (const uint64_t windows = most_windows(group)) move_rows(group, rows, ranks, arrivals, windows);
        arrivals.check_all_came();
    } catch (const std::invalid_argument& error) {  // another thread has changed them under way
        group.abandon(error.what());
        throw;
    }
}

}  // namespace pyscale
