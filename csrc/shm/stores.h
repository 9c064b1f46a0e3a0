// Whether what goes through staging is written through the caches or past them.
//
// Between cores that share a cache, staged data never leaves it, and going past it takes twice as long.
// Between cores that do not, every line must be taken from the reader's cache to be written, and asked back
// to be read: that takes more than twice as long as the way through memory. Which holds depends on where the
// operating system, or the machine under a virtual one, runs the ranks, and changes under way. So both ways
// are tried now and then, and the cheaper one is used: docs/architecture.md has the figures.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/copy.h"
#include "shm/call.h"

namespace pyscale {

// The choice for one collective and one class of sizes. All ranks feed it the same, and so choose the same.
class StoreChoice {
   public:
    bool streaming() const { return trying_ != streaming_; }
    // Whether the call that begins should be timed: most need not, and a clock takes its time too.
    bool wants_cost() const { return trying_ || chosen_cost_ == 0 || calls_ % kTimedEvery == 0; }
    // A call has ended that staged so many pieces.
    void count(uint64_t pieces);
    // What a call of so many pieces cost this way, in any unit of time per byte.
    void record(bool streamed, uint32_t cost, uint64_t pieces);

   private:
    void begin_trial(uint32_t cost);
    void end_trial(uint32_t cost);

    // So many pieces find the staging buffers as the other way has left them.
    static constexpr uint64_t kSettlingPieces = 3;
    static constexpr uint64_t kTimedEvery = 8;

    bool streaming_ = false;           // the better way, as far as is known
    bool trying_ = false;              // the other way is being tried
    uint32_t chosen_cost_ = 0;         // of the better way, when it was last compared
    uint64_t calls_ = 0, pieces_ = 0;  // since then
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
    // It has ended.
    void end(uint64_t pieces);

    bool streaming() const { return streaming_; }
    void copy(void* to, const void* from, size_t bytes) const { copy_or_stream(to, from, bytes, streaming_); }

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
    static constexpr int kClasses = 8;

    StoreChoice choices_[kCollectives][kClasses];
    // The call under way.
    StoreChoice* choice_ = nullptr;
    uint64_t bytes_ = 0;
    bool streaming_ = false;
    bool timed_ = false;
    std::chrono::steady_clock::duration worked_{};
    // The last call that staged anything, until it is learned from.
    struct Ended {
        StoreChoice* choice;
        bool streamed;
        uint32_t cost;
        uint64_t pieces;
    } ended_{};
};

}  // namespace pyscale
