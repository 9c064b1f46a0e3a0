#include "core/shared_loop.h"

#include <algorithm>

#include "core/helpers.h"

namespace pyscale {

SharedLoop::SharedLoop(size_t chunks, int num_threads, Run run, void* context)
    : run_(run),
      context_(context),
      parts_(std::min({chunks, static_cast<size_t>(std::max(num_threads, 1)), kMostThreads})) {
    for (size_t i = 0, begin = 0; i < parts_; ++i) {
        part_[i].next.store(begin, std::memory_order_relaxed);
        begin += chunks / parts_ + (i < chunks % parts_);
        part_[i].end = begin;
    }
}

void SharedLoop::finish() {
    std::fegetenv(&floats_);
    {
        const Shown shown(*this, static_cast<int>(parts_) - 1);
        take(0);
    }
    if (error_) std::rethrow_exception(error_);
}

bool SharedLoop::help() {
    const size_t part = joined_.fetch_add(1, std::memory_order_relaxed);
    if (part >= parts_) return false;
    std::fesetenv(&floats_);
    take(part);
    return true;
}

void SharedLoop::take(size_t first_part) {
    for (size_t i = 0; i < parts_; ++i) {
        Part& part = part_[(first_part + i) % parts_];
        while (part.next.load(std::memory_order_relaxed) < part.end) {
            const size_t chunk = part.next.fetch_add(1, std::memory_order_relaxed);
            if (chunk >= part.end || failed_.load(std::memory_order_relaxed)) break;
            try {
                run_(context_, chunk);
            } catch (...) {
                if (!failed_.exchange(true)) error_ = std::current_exception();
            }
        }
    }
}

}  // namespace pyscale
