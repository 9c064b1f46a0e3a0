#include "shm/waiting.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace pyscale {

namespace {

// Not the private kind: the word is shared by processes.
long futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
    return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, timeout, nullptr, 0);
}

constexpr timespec kSlice{0, 100'000'000};

}  // namespace

Patience Patience::for_ranks(int ranks, int cores) {
    // Calibrated by bench/calibrate.py: see docs/architecture.md.
    if (ranks <= cores) return {2000, 50};
    return {0, 100};
}

// Dekker's pattern with sleep_until: this side stores the word, then loads `sleepers`; the other side raises
// `sleepers`, then loads the word. All four are seq_cst, so at least one side sees the other: either the
// sleeper finds the word already there, or it is woken.
void publish(std::atomic<uint32_t>& word, uint32_t value, std::atomic<uint32_t>& sleepers) {
    word.exchange(value, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) != 0) futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

bool stay_awake_until(const std::atomic<uint32_t>& word, uint32_t target, const Patience& patience) {
    for (int i = 0; i < patience.spins; ++i) {
        if (reached(word.load(std::memory_order_acquire), target)) return true;
        pause_core();
    }
    for (int i = 0; i < patience.yields; ++i) {
        if (reached(word.load(std::memory_order_acquire), target)) return true;
        sched_yield();
    }
    return reached(word.load(std::memory_order_acquire), target);
}

void sleep_until(std::atomic<uint32_t>& word, uint32_t target, std::atomic<uint32_t>& sleepers,
                 const std::function<void()>& on_slice) {
    struct Sleeper {
        std::atomic<uint32_t>& count;
        explicit Sleeper(std::atomic<uint32_t>& sleepers) : count(sleepers) {
            count.fetch_add(1, std::memory_order_seq_cst);
        }
        ~Sleeper() { count.fetch_sub(1, std::memory_order_seq_cst); }
    } const sleeper(sleepers);
    for (;;) {
        const uint32_t seen = word.load(std::memory_order_seq_cst);
        if (reached(seen, target)) return;
        // Returns at once where the word is no longer `seen`; a signal and the end of the slice return here
        // too.
        if (futex(word, FUTEX_WAIT, seen, &kSlice) != 0) on_slice();
    }
}

}  // namespace pyscale
