// Waiting for a peer's counter: spin, yield, sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

#include "core/pause.h"

namespace pyscale {

// Counters wrap around; two that are compared are never more than a few apart.
inline bool reached(uint32_t value, uint32_t target) { return static_cast<int32_t>(value - target) >= 0; }

// How long a rank stays awake. Where every rank has a core of its own, the peer is running and a short spin
// meets it; where ranks share cores, the peer may be waiting for this very core, so that spinning only delays
// it.
struct Patience {
    int spins;
    int yields;

    static Patience for_ranks(int ranks, int cores);
};

// Publishes `value` and wakes the peers that sleep on `word`.
void publish(std::atomic<uint32_t>& word, uint32_t value, std::atomic<uint32_t>& sleepers);

// Sleeps until `word` has reached `target`, calling `on_slice` about ten times a second and after every
// signal; `on_slice` ends the wait by throwing. Costs no CPU while it sleeps.
void sleep_until(std::atomic<uint32_t>& word, uint32_t target, std::atomic<uint32_t>& sleepers,
                 const std::function<void()>& on_slice);

// Spins and yields as long as `patience` has it; returns whether `word` has reached `target`.
bool stay_awake_until(const std::atomic<uint32_t>& word, uint32_t target, const Patience& patience);

}  // namespace pyscale
