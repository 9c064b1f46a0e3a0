// How what goes through staging is written: by vectors, by the string instruction, or past the caches; and
// how outputs are that other ranks fold.
//
// Between cores that share a cache, staged data never leaves it, and going past it takes twice as long.
// Between cores that do not, every line must be taken from the reader's cache to be written, and asked back
// to be read: that takes more than twice as long as the way through memory. And there are processors on which
// the string instruction spares half of that, and others on which it is the slowest way of all. Which holds
// depends on where the operating system, or the machine under a virtual one, runs the ranks, and changes
// under way. So all ways are tried now and then, and the cheapest one is used: docs/architecture.md has the
// figures. Outputs that are not read before are better written past the caches where they would not stay in
// them; how much stays depends on who else uses the last cache, so that this is tried too.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/copy.h"
#include "shm/call.h"

namespace pyscale {

// The choice for one collective and one class of sizes. All ranks feed it the same, and so choose the same.
class StoreChoice {
   public:
    // Among the first so many of the ways.
    explicit StoreChoice(int ways = kWrites) : ways_(ways) {}

    Writes writes() const { return static_cast<Writes>((static_cast<int>(best_) + step_) % ways_); }
    // Whether the call that begins should be timed: most need not, and a clock takes its time too.
    bool wants_cost() const { return step_ > 0 || best_cost_ == 0 || calls_ % kTimedEvery == 0; }
    // A call has ended that staged so many pieces.
    void count(uint64_t pieces);
    // What a call of so many pieces cost this way, in any unit of time per byte.
    void record(Writes writes, uint32_t cost, uint64_t pieces);

   private:
    bool is_time_to_try(uint32_t cost) const;
    void try_next();
    void end_round();

    // So many pieces find the staging buffers as the way before has left them.
    static constexpr uint64_t kSettlingPieces = 3;
    static constexpr uint64_t kTimedEvery = 8;

    int ways_;
    Writes best_ = Writes::cached;     // as far as is known
    uint32_t best_cost_ = 0;           // when it was last compared
    uint64_t calls_ = 0, pieces_ = 0;  // since then
    uint64_t patience_ = 1;            // how much longer than at first until the others are tried again
    // A round: the ways after the best one are tried one by one.
    int step_ = 0;  // how far past the best one is the way in use; 0: nothing is being tried
    int winner_ = 0;
    uint32_t winner_cost_ = 0;
    uint64_t unsettled_ = kSettlingPieces;
    // A window of calls, and its least cost: calls that were preempted do not count.
    uint64_t window_pieces_ = 0;
    uint32_t window_cost_ = std::numeric_limits<uint32_t>::max();
};

// The choices of a group, and what the calls cost.
class Stores {
   public:
    // A call begins that stages `bytes` in all, the same on every rank.
    void begin(Collective collective, uint64_t bytes);
    // It turns out to stage nothing, and writes outputs of `bytes` that nobody reads before.
    void begin_outputs(uint64_t bytes);
    // It has ended.
    void end(uint64_t pieces);

    Writes writes() const { return writes_; }
    void copy(void* to, const void* from, size_t bytes) const { copy_by(writes_, to, from, bytes); }

    // While it lives, this rank moves data, and waits for nobody.
    class Work {
       public:
        explicit Work(Stores& stores) : stores_(stores) {
            if (stores_.timed_) start_ = Clock::now();
        }
        ~Work() {
            if (stores_.timed_) stores_.worked_ += Clock::now() - start_;
        }
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;

       private:
        using Clock = std::chrono::steady_clock;
        Stores& stores_;
        Clock::time_point start_;
    };

    // What the last call cost travels with the next one's announcement; 0: there is nothing to say. What all
    // ranks' costs are in sum is then learned from.
    uint32_t news() const { return ended_.cost; }
    void learn(uint32_t costs);

   private:
    static constexpr int kCollectives = static_cast<int>(Collective::split) + 1;
    static constexpr int kClasses = 8;  // a factor of two each; the last has all that is larger

    void begin_with(StoreChoice* choice, uint64_t bytes);

    StoreChoice staging_[kCollectives][kClasses];
    std::vector<StoreChoice> outputs_ = std::vector<StoreChoice>(kClasses, StoreChoice(2));
    // The call under way.
    StoreChoice* choice_ = nullptr;
    uint64_t bytes_ = 0;
    Writes writes_ = Writes::cached;
    bool timed_ = false;
    std::chrono::steady_clock::duration worked_{};
    // The last call that was timed, until it is learned from.
    struct Ended {
        StoreChoice* choice;
        Writes writes;
        uint32_t cost;
        uint64_t pieces;
    } ended_{};
};

}  // namespace pyscale
