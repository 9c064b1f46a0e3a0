// Chunks of one call that several threads take.
#pragma once

#include <array>
#include <atomic>
#include <cfenv>
#include <cstddef>
#include <exception>

namespace pyscale {

// Each thread begins with a part of its own, so that neighbours in memory stay together, and goes on with
// what is left of the others'. So a thread that gets no core holds up nobody.
class SharedLoop {
   public:
    using Run = void (*)(void* context, size_t chunk);
    static constexpr size_t kMostThreads = 128;

    SharedLoop(size_t chunks, int num_threads, Run run, void* context);
    SharedLoop(const SharedLoop&) = delete;
    SharedLoop& operator=(const SharedLoop&) = delete;

    // Does it all, with helpers. If chunks throw, throws one of the exceptions once nobody is at it any more.
    void finish();
    // What a helper does: takes chunks until there are none. False if there were others enough.
    bool help();

   private:
    struct alignas(64) Part {
        std::atomic<size_t> next{0};
        size_t end = 0;
    };

    void take(size_t first_part);

    const Run run_;
    void* const context_;
    const size_t parts_;
    std::array<Part, kMostThreads> part_;
    std::atomic<size_t> joined_{1};  // the caller has the first part
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
    std::fenv_t floats_;  // how the caller rounds, and whether it flushes denormals: the same bits everywhere
};

}  // namespace pyscale
