// How large arrays are cut: slices for ranks, pieces for staging buffers, and the pipeline that pieces run
// through.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "shm/group.h"

namespace pyscale {

struct Slice {
    size_t start;
    size_t count;
};

// Rank's share of `count` elements. Shares start at multiples of 64 elements, so that two ranks rarely write
// to one cache line.
inline Slice slice_of(size_t count, int rank, int ranks) {
    constexpr size_t kAlign = 64;
    const size_t share = (count / ranks + (count % ranks != 0) + kAlign - 1) / kAlign * kAlign;
    const size_t start = std::min(count, share * static_cast<size_t>(rank));
    return {start, std::min(share, count - start)};
}

// `total` elements as pieces of at most `each`, numbered on from the group's earlier pieces.
class Pieces {
   public:
    Pieces(const Group& group, size_t total, size_t each)
        : total_(total),
          each_(each),
          count_(total / each + (total % each != 0)),
          first_(group.next_piece()) {}

    size_t count() const { return count_; }
    Slice operator[](size_t i) const { return {i * each_, std::min(each_, total_ - i * each_)}; }
    uint64_t number(size_t i) const { return first_ + i; }

   private:
    size_t total_, each_, count_;
    uint64_t first_;
};

// Which way an array goes that does not travel with its announcement.
enum class Path { linked, staged };

// Announces the call and meets the peers. Where all ranks' arrays can be seen by all (`wanted` flags), they
// are used in place; else all ranks stage theirs in so many `pieces`, and the first, which `stage_first`
// copies in, is ready on return.
template <class StageFirst>
Path enter(Group& group, uint32_t flags, uint32_t wanted, size_t pieces, StageFirst stage_first) {
    const bool visible = (flags & wanted) == wanted;
    const auto timed_stage = [&] {
        const Stores::Work work(group.stores());
        stage_first();
    };
    if (!visible) timed_stage();  // before the announcement, which then hands it over
    group.announce(flags);
    group.meet();
    int linked = 0;
    for (int peer = 0; peer < group.size(); ++peer) linked += (group.flags(peer) & wanted) == wanted;
    if (linked == group.size()) return Path::linked;
    if (linked > 0) {
        if (visible) timed_stage();
        group.step();
    }
    group.advance_pieces(pieces);
    return Path::staged;
}

// Runs `count` pieces through stages that are one barrier apart: while piece i is in the first stage, piece
// i-1 is in the second, and so on. The first stage of piece 0 is done already. Staging buffers suffice
// because a piece is touched for at most three barrier intervals, and the same buffer comes round again after
// three.
template <class... Stage>
void run_pipeline(Group& group, size_t count, Stage... stages) {
    constexpr size_t kStages = sizeof...(Stage);
    static_assert(kStages <= Group::kStagingBuffers);
    for (size_t turn = 1; turn + 1 < count + kStages; ++turn) {
        size_t stage = 0;
        {
            const Stores::Work work(group.stores());
            ((turn >= stage && turn - stage < count ? stages(turn - stage) : void(), ++stage), ...);
        }
        if (turn + 2 < count + kStages) group.step();
    }
    group.stores().end(count);
}

}  // namespace pyscale
