#include "kernels/gather.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <type_traits>
#include <vector>

#include "core/cache.h"
#include "core/parallel.h"
#include "kernels/copy.h"

namespace pyscale {

namespace {

constexpr size_t kLine = 64;
constexpr size_t kPrefetched = 4096;  // of a row: beyond, the processor sees where it leads
constexpr size_t kMostAhead = 32;

// How many rows ahead of its copying a row is prefetched.
size_t rows_ahead(size_t bytes) { return std::clamp<size_t>(8192 / bytes, 1, kMostAhead); }

}  // namespace

}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/gather.inc"
#include "core/for_each_isa.h"

namespace pyscale {

namespace {

constexpr size_t kGrain = 128 << 10;   // bytes that one thread moves at a time; of a row too
constexpr size_t kRowCost = 32;        // what a row costs beside its bytes, in bytes
constexpr size_t kStreamedRow = 1024;  // from here on it pays to put lines together that end and begin rows
constexpr size_t kBlock = 4096;        // indices at a time
static_assert(kGrain / kRowCost <= kBlock);

// Indices begin to begin + count - 1 as they are, or widened into the buffer.
const int64_t* widen(const Indices& indices, size_t begin, size_t count, int64_t* buffer) {
    if (indices.wide) return static_cast<const int64_t*>(indices.data) + begin;
    std::copy_n(static_cast<const int32_t*>(indices.data) + begin, count, buffer);
    return buffer;
}

// A move as tasks: so many rows of so many pieces each.
struct Tasks {
    Move move;
    size_t rows, pieces;
    size_t end;  // the number of tasks up to here, of all moves
    bool streaming;

    Tasks(const Move& move, size_t count, size_t before, size_t streamed) : move(move) {
        pieces = (move.bytes + kGrain - 1) / kGrain;
        rows = std::max<size_t>(kGrain / (move.bytes + kRowCost), 1);
        end = before + (count + rows - 1) / rows * pieces;
        const bool whole_lines = (reinterpret_cast<uintptr_t>(move.to) | move.bytes) % kLine == 0;
        streaming = move.bytes >= (whole_lines ? kLine : kStreamedRow) && move.bytes * count >= streamed &&
                    move.to_stride == static_cast<int64_t>(move.bytes);
    }
};

// The bytes of each row from `begin` on, at most so many.
Move part_of(Move move, size_t begin, size_t bytes) {
    move.from += begin, move.to += begin;
    move.bytes = std::min(bytes, move.bytes - begin);
    return move;
}

void run_task(const Tasks& tasks, size_t task, const Indices& indices) {
    const size_t begin = task / tasks.pieces * tasks.rows;
    const size_t count = std::min(tasks.rows, indices.count - begin);
    Move part = part_of(tasks.move, task % tasks.pieces * kGrain, kGrain);
    part.to += static_cast<int64_t>(begin) * part.to_stride;
    const size_t known = std::min(count + kMostAhead, indices.count - begin);  // the next task's rows too
    int64_t buffer[kBlock + kMostAhead];
    const int64_t* const wide = widen(indices, begin, known, buffer);
    if (tasks.streaming && part.bytes >= kLine) {
        PYSCALE_PICK_ISA(gather_streaming)(part, wide, count, known);
        stream_fence();
    } else {
        PYSCALE_PICK_ISA(gather_rows)(part, wide, count, known);
    }
}

bool any_outside(const Indices& indices, size_t begin, size_t count, int64_t last) {
    if (indices.wide) {
        return PYSCALE_PICK_ISA(any_outside_wide)(static_cast<const int64_t*>(indices.data) + begin, count,
                                                  last);
    }
    const auto narrow = static_cast<int32_t>(std::min<int64_t>(last, INT32_MAX));
    return PYSCALE_PICK_ISA(any_outside_narrow)(static_cast<const int32_t*>(indices.data) + begin, count,
                                                narrow);
}

// The rows of `to` from low to low + span - 1, of all indices in turn.
void scatter_part(const Move& move, const Indices& indices, int64_t low, int64_t span, bool all) {
    constexpr size_t kSelected = 1024;
    int64_t buffer[kSelected], positions[kSelected], selected[kSelected];
    for (size_t begin = 0; begin < indices.count; begin += kSelected) {
        size_t count = std::min(kSelected, indices.count - begin);
        const int64_t* targets = widen(indices, begin, count, buffer);
        std::iota(positions, positions + count, static_cast<int64_t>(begin));
        if (!all) {
            size_t kept = 0;
            for (size_t i = 0; i < count; ++i) {  // without a branch, which nobody could foresee
                positions[kept] = positions[i];
                selected[kept] = targets[i];
                kept += targets[i] >= low && targets[i] < low + span;
            }
            targets = selected, count = kept;
        }
        PYSCALE_PICK_ISA(scatter_rows)(move, positions, targets, count);
    }
}

}  // namespace

size_t first_outside(const Indices& indices, int64_t rows, int num_threads) {
    constexpr size_t kChecked = 256 << 10;
    if (rows <= 0) return 0;
    std::atomic<bool> found{false};
    parallel_for(indices.count, kChecked, num_threads, [&](size_t begin, size_t end) {
        if (any_outside(indices, begin, end - begin, rows - 1)) found = true;
    });
    if (!found) return indices.count;
    size_t position = 0;
    for (const size_t step : {kChecked, size_t{1}}) {
        while (position < indices.count &&
               !any_outside(indices, position, std::min(step, indices.count - position), rows - 1))
            position += step;
    }
    return std::min(position, indices.count);
}

size_t streamed_from() { return last_cache_bytes() / 4 * 3; }  // others use it too

void gather(const Move* moves, size_t count, const Indices& indices, int num_threads, size_t streamed) {
    std::vector<Tasks> all;
    all.reserve(count);
    size_t tasks = 0;
    for (size_t i = 0; i < count; ++i) {
        if (moves[i].bytes == 0) continue;
        all.emplace_back(moves[i], indices.count, tasks, streamed);
        tasks = all.back().end;
    }
    parallel_for(tasks, 1, num_threads, [&](size_t task, size_t) {
        const auto owner = std::upper_bound(all.begin(), all.end(), task,
                                            [](size_t number, const Tasks& one) { return number < one.end; });
        run_task(*owner, task - (owner == all.begin() ? 0 : (owner - 1)->end), indices);
    });
}

// Each thread has rows of `to`, or pieces of rows, of its own, and goes through all indices in their order:
// that is why the last one wins.
void scatter(const Move& move, int64_t rows, const Indices& indices, int num_threads) {
    if (move.bytes == 0 || indices.count == 0) return;
    const size_t pieces = (move.bytes + kGrain - 1) / kGrain;
    const size_t grains = (move.bytes + kRowCost) * indices.count / kGrain / pieces + 1;
    const size_t wanted = (static_cast<size_t>(std::max(num_threads, 1)) + pieces - 1) / pieces;
    const auto parts = static_cast<int64_t>(std::min({wanted, grains, static_cast<size_t>(rows)}));
    parallel_for(pieces * static_cast<size_t>(parts), 1, num_threads, [&](size_t task, size_t) {
        const auto part = static_cast<int64_t>(task / pieces);
        const int64_t share = rows / parts, more = rows % parts;
        scatter_part(part_of(move, task % pieces * kGrain, kGrain), indices,
                     part * share + std::min(part, more), share + (part < more), parts == 1);
    });
}

}  // namespace pyscale
