// On which cores threads are, and should not be.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyscale {

// A kernel may wake a thread on the core of the one that wakes it, and leave the two there for milliseconds
// while another core has nothing to do. Here threads say where they are, and whoever finds one in its way
// sends it elsewhere.
template <int most>
class Cores {
#if defined(__linux__)
   public:
    Cores() {
        CPU_ZERO(&allowed_);
        for (std::atomic<int>& core : core_) core = kUnknown;
        sched_getaffinity(0, sizeof allowed_, &allowed_);  // new threads may be where this one may
    }

    // Of the calling thread, which has that number.
    void note(int number) {
        if (id_[number] == 0) id_[number] = static_cast<int>(syscall(SYS_gettid));
        core_[number].store(sched_getcpu(), std::memory_order_relaxed);
    }

    // Sends those of the first `count` threads elsewhere which share a core with the caller or with another.
    void spread(int count) {
        cpu_set_t taken;
        CPU_ZERO(&taken);
        CPU_SET(static_cast<size_t>(std::max(sched_getcpu(), 0)), &taken);
        for (int i = 0; i < count; ++i) {
            const int core = core_[i].load(std::memory_order_relaxed);
            if (core == kUnknown) continue;
            if (!CPU_ISSET(static_cast<size_t>(core), &taken)) {
                CPU_SET(static_cast<size_t>(core), &taken);
                continue;
            }
            cpu_set_t others;
            CPU_XOR(&others, &allowed_, &taken);
            CPU_AND(&others, &others, &allowed_);
            if (CPU_COUNT(&others) == 0) return;
            sched_setaffinity(id_[i], sizeof others, &others);
            core_[i].store(kUnknown, std::memory_order_relaxed);
        }
    }

   private:
    static constexpr int kUnknown = -1;

    cpu_set_t allowed_;
    std::array<std::atomic<int>, most> id_{}, core_;
#else
   public:
    void note(int) {}
    void spread(int) {}
#endif
};

}  // namespace pyscale
