#include "core/jobs.h"

#include <signal.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace pyscale {

Jobs::Jobs(int threads) : process_(getpid()) {
    // Signals are for the threads of the program, which know what to do with them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        close();
        throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

uint64_t Jobs::submit(std::function<void()> job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) throw std::runtime_error("Jobs: expected to be open, got a job after close");
    waiting_.emplace_back(next_, std::move(job));
    something_to_do_.notify_one();
    return next_++;
}

bool Jobs::wait(uint64_t ticket, std::chrono::milliseconds limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!something_done_.wait_for(lock, limit, [&] { return closed_ || done_.count(ticket) != 0; }))
        return false;
    const auto found = done_.find(ticket);
    if (found == done_.end()) throw std::runtime_error("Jobs: expected to be open, got a wait after close");
    const std::exception_ptr error = found->second;
    done_.erase(found);
    if (error) std::rethrow_exception(error);
    return true;
}

void Jobs::close() {
    // A forked child has none of the threads, and the lock as it was when its parent forked.
    if (getpid() != process_) {
        for (std::thread& thread : threads_) thread.detach();
        threads_.clear();
        return;
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
        waiting_.clear();
    }
    something_to_do_.notify_all();
    something_done_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

void Jobs::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        something_to_do_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
        if (closed_) return;
        const auto [ticket, job] = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        std::exception_ptr error;
        try {
            job();
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        done_.emplace(ticket, error);
        something_done_.notify_all();
    }
}

}  // namespace pyscale
