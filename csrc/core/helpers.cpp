#include "core/helpers.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "core/cores.h"
#include "core/pause.h"
#include "core/shared_loop.h"
#include "core/signals.h"

namespace pyscale {

// Where a caller shows its loop. A helper is counted before it looks at the loop, and the loop is taken away
// before the count is read, all in one order for everybody: so either the caller sees the helper, or the
// helper no loop.
struct alignas(64) Place {
    std::atomic<bool> taken{false};
    std::atomic<SharedLoop*> loop{nullptr};
    std::atomic<int> inside{0};
    std::atomic<bool> awaited{false};
};

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::microseconds;

// How long one looks for a change before it sleeps, which costs tens of microseconds to be woken from: first
// with its core for itself, then whenever nobody else wants it.
constexpr Microseconds kSpinning{50}, kYielding{2000};

template <class F>
bool seen_within(Clock::duration most, const F& changed) {
    const auto begin = Clock::now();
    for (Clock::duration spent{0}; spent < most; spent = Clock::now() - begin) {
        for (int i = 0; i < 32; ++i) {
            if (changed()) return true;
            pause_core();
        }
        if (spent > kSpinning) sched_yield();
    }
    return changed();
}

// Of one process. Never destroyed, since its threads are there to the end of the process.
class Helpers {
   public:
    Place* show(SharedLoop& loop, int helpers);
    void take_away(Place& place);

   private:
    static constexpr size_t kPlaces = 32;       // callers beyond do their loops alone
    static constexpr uint32_t kRefusal = 1000;  // calls until it is asked again
    static constexpr int kMost = static_cast<int>(SharedLoop::kMostThreads) - 1;

    void start(int helpers);
    void wake(int helpers);
    bool help();
    [[noreturn]] void work();

    std::array<Place, kPlaces> places_;
    std::atomic<uint32_t> calls_{0};
    std::atomic<int> started_{0}, numbered_{0}, asleep_{0}, looking_{0};
    std::atomic<uint32_t> refused_at_{0U - kRefusal};  // of the calls, where the system gave no thread
    Cores<kMost> cores_;
    std::mutex mutex_;
    std::condition_variable called_, left_;
};

Place* Helpers::show(SharedLoop& loop, int helpers) {
    helpers = std::min(helpers, kMost);
    if (started_.load(std::memory_order_relaxed) < helpers && calls_ - refused_at_ >= kRefusal)
        start(helpers);
    helpers = cores_.spread(std::min(helpers, started_.load()));
    if (helpers == 0) return nullptr;
    for (Place& place : places_) {
        if (place.taken.load(std::memory_order_relaxed) || place.taken.exchange(true)) continue;
        place.loop = &loop;
        ++calls_;
        if (asleep_ != 0) wake(helpers - looking_);
        return &place;
    }
    return nullptr;
}

void Helpers::take_away(Place& place) {
    place.loop = nullptr;
    const auto empty = [&] { return place.inside == 0; };
    if (!seen_within(kSpinning, empty)) {
        place.awaited = true;
        std::unique_lock<std::mutex> lock(mutex_);
        left_.wait(lock, empty);
        place.awaited = false;
    }
    place.taken.store(false, std::memory_order_release);
}

void Helpers::start(int helpers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const SignalsHeld held;
    for (bool refused = false; started_ < helpers && !refused;) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        cores_.begin_elsewhere(attributes, started_);
        pthread_t thread;
        const auto run = [](void* self) -> void* { static_cast<Helpers*>(self)->work(); };
        int error = pthread_create(&thread, &attributes, run, this);
        pthread_attr_destroy(&attributes);
        if (error != 0 && error != EAGAIN) {  // one may not choose where
            error = pthread_create(&thread, nullptr, run, this);
            if (error == 0) pthread_detach(thread);
        }
        refused = error != 0;
        if (refused) refused_at_ = calls_.load();
        started_ += !refused;
    }
}

void Helpers::wake(int helpers) {
    if (helpers <= 0) return;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
    }  // who counts itself as asleep is asleep by now
    for (int i = 0; i < helpers; ++i) called_.notify_one();
}

bool Helpers::help() {
    bool helped = false;
    for (Place& place : places_) {
        if (place.loop.load(std::memory_order_relaxed) == nullptr) continue;
        ++place.inside;
        if (SharedLoop* const loop = place.loop) helped |= loop->help();
        --place.inside;
        if (place.awaited) {
            {
                const std::lock_guard<std::mutex> lock(mutex_);
            }
            left_.notify_all();
        }
    }
    return helped;
}

void Helpers::work() {
    const int number = numbered_++;
    auto until = Clock::now() + kYielding;  // from when it was of use last: others are enough for the rest
    for (;;) {
        const uint32_t seen = calls_;
        const auto called = [&] { return calls_ != seen; };
        if (help()) until = Clock::now() + kYielding;
        cores_.note(number);
        ++looking_;
        const bool found = seen_within(until - Clock::now(), called);
        --looking_;
        if (found) continue;
        cores_.note(number);
        std::unique_lock<std::mutex> lock(mutex_);
        ++asleep_;
        called_.wait(lock, called);
        --asleep_;
        until = Clock::now() + kYielding;
    }
}

// A forked child has none of the threads, and the locks and counts as they were when its parent forked.
std::atomic<Helpers*> of_process{nullptr};
const int registered = pthread_atfork(nullptr, nullptr, [] { of_process = nullptr; });

Helpers& helpers_of_process() {
    static_cast<void>(registered);
    Helpers* found = of_process.load(std::memory_order_acquire);
    if (found == nullptr) {
        auto* const made = new Helpers;
        if (of_process.compare_exchange_strong(found, made)) return *made;
        delete made;
    }
    return *found;
}

}  // namespace

Shown::Shown(SharedLoop& loop, int helpers) : place_(helpers_of_process().show(loop, helpers)) {}

Shown::~Shown() {
    if (place_ != nullptr) helpers_of_process().take_away(*place_);
}

}  // namespace pyscale
