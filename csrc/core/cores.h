// On which cores threads are, and should not be.
#pragma once

#include <pthread.h>

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
        for (std::atomic<int>& core : core_) core = kUnknown;
    }

    // Of the calling thread, which has that number.
    void note(int number) {
        if (id_[number] == 0) id_[number] = static_cast<int>(syscall(SYS_gettid));
        core_[number].store(sched_getcpu(), std::memory_order_release);  // id_ before it
    }

    // Of the threads that are begun with these attributes, the first but `count`.
    void begin_elsewhere(pthread_attr_t& attributes, int count) {
#if defined(__GLIBC__)
        cpu_set_t taken = here();
        for (int i = 0; i < count; ++i) {
            const int core = core_[i].load(std::memory_order_relaxed);
            if (core != kUnknown) CPU_SET(static_cast<size_t>(core), &taken);
        }
        const cpu_set_t others = allowed_but(taken);
        if (CPU_COUNT(&others) != 0) pthread_attr_setaffinity_np(&attributes, sizeof others, &others);
#endif
    }

    // Sends those of the first `count` threads elsewhere which share a core with the caller or with another.
    // Returns how many have a core, as far as is known: the first of them.
    int spread(int count) {
        cpu_set_t taken = here();
        for (int i = 0; i < count; ++i) {
            const int core = core_[i].load(std::memory_order_acquire);
            if (core == kUnknown) continue;
            if (!CPU_ISSET(static_cast<size_t>(core), &taken)) {
                CPU_SET(static_cast<size_t>(core), &taken);
                continue;
            }
            const cpu_set_t others = allowed_but(taken);
            if (CPU_COUNT(&others) == 0) return i;
            sched_setaffinity(id_[i], sizeof others, &others);
            core_[i].store(kUnknown, std::memory_order_relaxed);
        }
        return count;
    }

   private:
    static cpu_set_t here() {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(static_cast<size_t>(std::max(sched_getcpu(), 0)), &cores);
        return cores;
    }
    // Where the calling thread may be now, but not there.
    static cpu_set_t allowed_but(const cpu_set_t& taken) {
        cpu_set_t allowed, others;
        CPU_ZERO(&allowed);
        sched_getaffinity(0, sizeof allowed, &allowed);
        CPU_XOR(&others, &allowed, &taken);
        CPU_AND(&others, &others, &allowed);
        return others;
    }

    static constexpr int kUnknown = -1;

    std::array<std::atomic<int>, most> id_{}, core_;
#else
   public:
    void note(int) {}
    void begin_elsewhere(pthread_attr_t&, int) {}
    int spread(int count) { return count; }
#endif
};

}  // namespace pyscale
