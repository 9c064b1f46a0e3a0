// A group of ranks as Python calls it.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "core/parallel.h"
#include "shm/collectives.h"
#include "shm/node.h"

namespace pyscale {

// One call at a time, without Python's lock once it waits or works long.
class PyGroup {
   public:
    PyGroup(std::shared_ptr<Node> node, const std::vector<size_t>& members, int rank,
            const std::vector<size_t>& mailboxes, const std::vector<int>& labels, double timeout, int cores,
            const std::string& algorithm)
        : node_(std::move(node)),
          group_(resolve(*node_, members, mailboxes, labels), rank,
                 {timeout, cores, parse_algorithm(algorithm)}) {
        group_.set_hooks({[this] { gil_->release(); },
                          [this] {
                              gil_->check_signals();
                              if (closing_)
                                  throw CommFailure(Failure::departure, "the communicator was closed");
                          }});
    }

    Group& group() { return group_; }

    template <class F>
    void call(size_t bytes, F body) {
        if (in_forked_child()) {
            throw CommFailure(Failure::none,
                              "expected the process that joined the job, got a forked child of it");
        }
        if (owner_ == std::this_thread::get_id()) {
            throw CommFailure(Failure::none,
                              "expected no collective inside another, got one from a signal handler");
        }
        Gil gil;
        std::unique_lock<std::timed_mutex> lock(mutex_, std::try_to_lock);
        while (!lock.owns_lock()) {
            if (Gil::is_finalizing()) {
                throw CommFailure(Failure::none,
                                  "expected no collective while Python exits, got one beside another "
                                  "thread's, which never ends");
            }
            gil.check_signals();
            gil.release();
            lock.try_lock_for(std::chrono::milliseconds(100));
        }
        const Owner owner(owner_);
        gil_ = &gil;
        if (bytes > kReleaseBytes) gil.release();
        try {
            body();
        } catch (const CallMismatch&) {
            throw;
        } catch (...) {
            if (group_.broken() || closing_) node_->quarantine();
            throw;
        }
    }

    // Ends the call under way, if any, and tells the peers.
    void close() {
        closing_ = true;
        // A signal handler's or the garbage collector's, inside a call of this thread: that call ends it.
        if (owner_ == std::this_thread::get_id() || in_forked_child()) return;
        Gil gil;
        gil.release();
        std::unique_lock<std::timed_mutex> lock(mutex_, std::defer_lock);
        while (!lock.try_lock_for(std::chrono::milliseconds(100))) {
            if (Gil::is_finalizing()) return;  // the thread in the call is no more; the process has departed
        }
        group_.close();
    }

   private:
    struct Owner {
        std::atomic<std::thread::id>& id;
        explicit Owner(std::atomic<std::thread::id>& owner) : id(owner) { id = std::this_thread::get_id(); }
        ~Owner() { id = std::thread::id(); }
    };

    static std::vector<Group::Member> resolve(const Node& node, const std::vector<size_t>& members,
                                              const std::vector<size_t>& mailboxes,
                                              const std::vector<int>& labels) {
        std::vector<Group::Member> resolved;
        for (size_t i = 0; i < members.size(); ++i)
            resolved.push_back(node.member(members[i], mailboxes.at(i), labels.at(i)));
        return resolved;
    }

    std::shared_ptr<Node> node_;
    Group group_;
    std::timed_mutex mutex_;
    std::atomic<std::thread::id> owner_{std::thread::id()};
    std::atomic<bool> closing_{false};
    Gil* gil_ = nullptr;
};

inline Call call_for(const Raw& x) {
    Call call;
    call.dtype = x.dtype;
    call.set_shape(x.shape, x.ndim);
    return call;
}

// An all_reduce of plain NumPy arrays. None: take the long way, which also finds the words for what is wrong.
py::object all_reduce_plain(PyGroup& self, py::handle x, py::handle op, py::handle out);

// Sets the Python exception for one of ours; rethrows what is not.
void translate(std::exception_ptr pointer);

}  // namespace pyscale
