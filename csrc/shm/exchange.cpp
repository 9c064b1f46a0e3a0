// Rows to the ranks that they are for, through staging: each is read once and written into the staging buffer
// of its window, sorted by rank, from where its rank copies it to the output. What a rank keeps goes to the
// output at once.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
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

// What a rank says of its part, behind the Link to its staging buffers.
struct Part {
    uint64_t windows;
    uint64_t buffer_bytes;
};
static_assert(sizeof(Link) + sizeof(Part) <= Announcement::kInlineBytes);

Part part_of(Group& group, int rank) {
    Part part;
    std::memcpy(&part, group.letter(rank).announcement.payload + sizeof(Link), sizeof part);
    return part;
}

// The staging buffer of a rank for its window of this number, counted on from the group's earlier pieces.
const std::byte* staged(Group& group, int rank, uint64_t number) {
    return group.input(rank) + number % Group::kStagingBuffers * part_of(group, rank).buffer_bytes;
}

void move_rows(Group& group, Partition& rows, const std::vector<size_t>& ranks, const RowStaging& staging,
               Arrivals& arrivals) {
    const auto members = static_cast<size_t>(group.size()), self = static_cast<size_t>(group.rank());
    uint64_t windows = 0;
    for (int peer = 0; peer < group.size(); ++peer) windows = std::max(windows, part_of(group, peer).windows);
    if (windows == 0) return;
    const Pieces pieces(group, windows, 1);
    group.advance_pieces(windows);
    std::vector<std::byte*> cursors(rows.ranks());
    const auto pack = [&](size_t i) {
        rows.read(i);
        std::byte* const buffer =
            staging.data + pieces.number(i) % Group::kStagingBuffers * staging.buffer_bytes;
        uint64_t end = table_bytes(members);
        for (size_t to = 0; to < members; ++to) {
            const size_t bytes = rows.bytes(ranks[to]);
            cursors[ranks[to]] = to == self ? arrivals.take(self, bytes) : buffer + end;
            if (to != self) end += bytes;
            std::memcpy(buffer + to * sizeof end, &end, sizeof end);
        }
        rows.write(cursors.data());
    };
    const auto unpack = [&](size_t i) {
        for (size_t k = 1; k < members; ++k) {
            const size_t from = (self + k) % members;
            const std::byte* const buffer = staged(group, static_cast<int>(from), pieces.number(i));
            uint64_t start = table_bytes(members), end;
            if (self > 0) std::memcpy(&start, buffer + (self - 1) * sizeof start, sizeof start);
            std::memcpy(&end, buffer + self * sizeof end, sizeof end);
            copy_bytes(arrivals.take(from, end - start), buffer + start, end - start);
        }
    };
    group.stores().begin(Collective::exchange, 0);  // no array is copied that one of its ways would suit best
    pack(0);
    group.step();
    run_pipeline(group, windows, pack, unpack);
    group.step();  // staging that is the caller's is free again
}

}  // namespace

RowStaging own_staging(Group& group) { return {group.staging(group.rank(), 0), Group::kStagingBufferBytes}; }

size_t largest_window(const Group& group, const RowStaging& staging) {
    const size_t table = table_bytes(static_cast<size_t>(group.size()));
    if (staging.buffer_bytes <= table) {
        throw_expected("staging", "more than " + std::to_string(table) + " bytes a buffer",
                       std::to_string(staging.buffer_bytes));
    }
    return staging.buffer_bytes - table;
}

void exchange(Group& group, Call call, Partition& rows, const std::vector<size_t>& ranks,
              const RowStaging& staging, const std::vector<std::byte*>& outputs,
              const std::vector<uint64_t>& output_bytes) {
    call.collective = Collective::exchange;
    Letter& letter = group.open(call, 0);
    const size_t staging_bytes = Group::kStagingBuffers * staging.buffer_bytes;
    if (group.link_arrays(letter, staging.data, staging_bytes, nullptr, 0) != Link::input)
        throw_expected("staging", "memory of this rank's arena", "other memory");
    const Part part{rows.windows(), staging.buffer_bytes};
    std::memcpy(letter.announcement.payload + sizeof(Link), &part, sizeof part);
    group.announce();
    group.meet();
    Arrivals arrivals(outputs, output_bytes);
    try {
        move_rows(group, rows, ranks, staging, arrivals);
        arrivals.check_all_came();
    } catch (const std::invalid_argument& error) {  // another thread has changed them under way
        group.abandon(error.what());
        throw;
    }
}

}  // namespace pyscale
