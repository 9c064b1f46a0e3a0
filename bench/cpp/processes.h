// Processes with shared memory between them: what the bare measurements stand on.
#pragma once

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

struct alignas(128) Line {  // neighbouring cache lines are fetched in pairs
    std::atomic<uint64_t> value{0};
};

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

inline void* shared_memory(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("mmap");
        std::exit(1);
    }
    return memory;
}

inline int cores() {
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    return CPU_COUNT(&allowed);
}

// Keeps this process on the index-th of the cores it may use, so that none is shared while there are enough.
inline void pin(int index) {
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    index %= CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
            cpu_set_t chosen;
            CPU_ZERO(&chosen);
            CPU_SET(cpu, &chosen);
            sched_setaffinity(0, sizeof chosen, &chosen);
            return;
        }
    }
}

// Runs f(0) here and f(1) to f(count - 1) in children that end with their parent.
template <class F>
void in_processes(int count, F f) {
    for (int index = 1; index < count; ++index) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pin(index);
            f(index);
            _exit(0);
        }
    }
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    pin(0);
    f(0);
    sched_setaffinity(0, sizeof before, &before);
    for (int index = 1; index < count; ++index) {
        int status = 0;
        wait(&status);
        if (status != 0) std::exit(1);
    }
}

inline double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}
