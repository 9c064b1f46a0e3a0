// Callers that come at the same time share the threads that each may have: more threads than cores would
// wait for each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace pyscale {

// One that computes now.
class Caller {
   public:
    Caller() : under_way_(++count) {}
    ~Caller() { --count; }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

    // In a forked child, where there are none.
    static void forget() { count = 0; }

    // This one's part of so many threads; at least 1.
    int share_of(int num_threads) const {
        const auto threads = static_cast<size_t>(std::max(num_threads, 1));
        return static_cast<int>(std::max<size_t>(threads / under_way_, 1));
    }

   private:
    inline static std::atomic<size_t> count{0};
    size_t under_way_;
};

}  // namespace pyscale
