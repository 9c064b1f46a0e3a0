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
    ~Jobs() { close(); }
    Jobs(const Jobs&) = delete;
    Jobs& operator=(const Jobs&) = delete;

    // The job is begun once all that were given before it have been. Returns its ticket.
    uint64_t submit(std::function<void()> job);
    // Whether the job was done within that time; once, throws what it threw.
    bool wait(uint64_t ticket, std::chrono::milliseconds limit);
    // Drops what has not begun; returns when nothing is being done any more.
    void close();

   private:
    void work();

    std::mutex mutex_;
    std::condition_variable something_to_do_, something_done_;
    std::deque<std::pair<uint64_t, std::function<void()>>> waiting_;
    std::map<uint64_t, std::exception_ptr> done_;  // null: it went well
    uint64_t next_ = 0;
    bool closed_ = false;
    int process_;
    std::vector<std::thread> threads_;
};

}  // namespace pyscale
