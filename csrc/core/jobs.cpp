#include "core/jobs.h"

#include <unistd.h>

#include <stdexcept>
#include <utility>

#include "core/signals.h"

namespace pyscale {

namespace {

void check_open(bool closed) {
    if (closed) throw std::runtime_error("Jobs: expected to be open, got a call after close");
}

}  // namespace

Jobs::Jobs(int threads) : process_(getpid()), state_(new State) {
    const SignalsHeld held;
    try {
        for (int i = 0; i < threads; ++i) state_->threads.emplace_back([state = state_] { work(*state); });
    } catch (...) {
        close();
        delete state_;
        throw;
    }
}

Jobs::~Jobs() {
    if (getpid() != process_) return;
    close();
    delete state_;
}

Jobs::State& Jobs::own() const {
    if (getpid() != process_)
        throw std::runtime_error("Jobs: expected the process that made them, got its fork");
    return *state_;
}

uint64_t Jobs::submit(std::function<void()> job) {
    State& state = own();
    const std::lock_guard<std::mutex> lock(state.mutex);
    check_open(state.closed);
    state.waiting.emplace_back(state.next, std::move(job));
    state.something_to_do.notify_one();
    return state.next++;
}

bool Jobs::wait(uint64_t ticket, std::chrono::milliseconds limit) {
    State& state = own();
    std::unique_lock<std::mutex> lock(state.mutex);
    if (!state.something_done.wait_for(lock, limit,
                                       [&] { return state.closed || state.done.count(ticket) != 0; }))
        return false;
    check_open(state.closed);
    const auto found = state.done.find(ticket);
    const std::exception_ptr error = found->second;
    state.done.erase(found);
    if (error) std::rethrow_exception(error);
    return true;
}

void Jobs::close() {
    if (getpid() != process_) return;
    std::unique_lock<std::mutex> lock(state_->mutex);
    if (state_->closed) {  // another thread is at it, or was
        state_->something_done.wait(lock, [&] { return state_->ended; });
        return;
    }
    state_->closed = true;
    state_->waiting.clear();
    lock.unlock();
    state_->something_to_do.notify_all();
    state_->something_done.notify_all();
    for (std::thread& thread : state_->threads) thread.join();
    lock.lock();
    state_->ended = true;
    state_->something_done.notify_all();
}

void Jobs::work(State& state) {
    std::unique_lock<std::mutex> lock(state.mutex);
    for (;;) {
        state.something_to_do.wait(lock, [&] { return state.closed || !state.waiting.empty(); });
        if (state.closed) return;
        const auto [ticket, job] = std::move(state.waiting.front());
        state.waiting.pop_front();
        lock.unlock();
        std::exception_ptr error;
        try {
            job();
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        state.done.emplace(ticket, error);
        state.something_done.notify_all();
    }
}

}  // namespace pyscale
