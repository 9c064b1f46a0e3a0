// Work that threads do while their owner does something else.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace pyscale {

class Jobs {
   public:
    explicit Jobs(int threads);
    ~Jobs();
    Jobs(const Jobs&) = delete;
    Jobs& operator=(const Jobs&) = delete;

    // The job is begun once all that were given before it have been. Returns its ticket.
    uint64_t submit(std::function<void()> job);
    // Whether the job was done within that time; once, throws what it threw. Throws where another thread
    // closes.
    bool wait(uint64_t ticket, std::chrono::milliseconds limit);
    // Drops what has not begun; returns when nothing is being done any more. May be called again.
    void close();

   private:
    struct State {
        std::mutex mutex;
        std::condition_variable something_to_do, something_done;
        std::deque<std::pair<uint64_t, std::function<void()>>> waiting;
        std::map<uint64_t, std::exception_ptr> done;  // null: it went well
        uint64_t next = 0;
        bool closed = false, ended = false;  // nothing is begun any more; no thread is left
        std::vector<std::thread> threads;
    };
    static void work(State& state);
    State& own() const;

    const int process_;
    // A forked child has none of the threads, and the lock as it was when its parent forked: it leaves all
    // that alone, and never frees it.
    State* const state_;
};

}  // namespace pyscale
