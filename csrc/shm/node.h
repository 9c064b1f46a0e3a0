// The processes of one node, as one of them sees it.
#pragma once

#include <memory>
#include <vector>

#include "shm/arena.h"
#include "shm/group.h"
#include "shm/mailbox.h"

namespace pyscale {

// The processes of one node that proved to share memory. Owns the descriptors of the processes (-1: its own).
class Node {
   public:
    Node(std::shared_ptr<Arena> arena, int index, const std::vector<int>& arena_fds,
         const std::vector<size_t>& arena_bytes, std::vector<int> pidfds);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    // A mailbox of this process's, in its own arena; the peers reach it by this offset.
    size_t open_mailbox() { return arena_->allocate(sizeof(Mailbox), false); }
    void free_mailbox(size_t offset) { arena_->free(offset); }

    // A block that process i has lent; this process is now one of its users. Throws std::invalid_argument for
    // what is none.
    LentBlock& borrow(size_t i, size_t offset);

    uint64_t nonce(size_t i) const { return state(i).nonce; }
    void quarantine() { arena_->quarantine(); }
    // A process that joins again is no longer gone.
    void join() { own_state().departed.store(kPresent, std::memory_order_release); }
    void depart(bool in_order) {
        own_state().departed.store(in_order ? kInOrder : kFailed, std::memory_order_release);
    }
    // Returns once a process has died that did not depart in order; never, where all do.
    void await_failure() const;
    // Whether this rank is the first of the node to say that its exception ends the job.
    bool claim_failure(int rank);

    // Process i as a member of a group. Throws std::invalid_argument for a mailbox outside its arena.
    Group::Member member(size_t i, size_t mailbox_offset, int label) const;

   private:
    ProcessState& state(size_t i) const { return *reinterpret_cast<ProcessState*>(bases_.at(i)); }
    ProcessState& own_state() const { return *reinterpret_cast<ProcessState*>(arena_->base()); }

    std::shared_ptr<Arena> arena_;
    std::vector<std::unique_ptr<Mapping>> mappings_;
    std::vector<std::byte*> bases_;
    std::vector<size_t> bytes_;
    std::vector<int> pidfds_;
};

}  // namespace pyscale
