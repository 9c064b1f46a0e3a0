#include "shm/node.h"

#include <poll.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

namespace pyscale {

Node::Node(std::shared_ptr<Arena> arena, int index, const std::vector<int>& arena_fds,
           const std::vector<size_t>& arena_bytes, std::vector<int> pidfds)
    : arena_(std::move(arena)), pidfds_(std::move(pidfds)) {
    for (size_t i = 0; i < arena_fds.size(); ++i) {
        const bool own = static_cast<int>(i) == index;
        mappings_.push_back(own ? nullptr : std::make_unique<Mapping>(arena_fds[i], arena_bytes[i]));
        bases_.push_back(own ? arena_->base() : mappings_.back()->base());
        bytes_.push_back(arena_bytes[i]);
    }
}

Node::~Node() {
    for (const int fd : pidfds_) {
        if (fd >= 0) close(fd);
    }
}

void Node::await_failure() const {
    std::vector<pollfd> watched;
    for (const int fd : pidfds_) watched.push_back({fd, POLLIN, 0});  // poll passes over those below 0
    for (;;) {
        if (poll(watched.data(), watched.size(), -1) <= 0) continue;
        for (size_t i = 0; i < watched.size(); ++i) {
            if (watched[i].revents == 0) continue;
            if (state(i).departed.load(std::memory_order_acquire) != kInOrder) return;
            watched[i].fd = -1;
        }
    }
}

bool Node::claim_failure(int rank) {
    uint32_t none = 0;
    return state(0).failing_rank.compare_exchange_strong(none, static_cast<uint32_t>(rank) + 1);
}

LentBlock& Node::borrow(size_t i, size_t offset) {
    const size_t room = bytes_.at(i);
    auto& block = *reinterpret_cast<LentBlock*>(bases_[i] + offset);
    const bool has_header =
        offset % alignof(LentBlock) == 0 && offset <= room && room - offset >= LentBlock::kHeaderBytes;
    if (!has_header || block.bytes > room - offset - LentBlock::kHeaderBytes)
        throw std::invalid_argument("block: expected one in the arena, got offset " + std::to_string(offset));
    block.join();
    return block;
}

Group::Member Node::member(size_t i, size_t mailbox_offset, int label) const {
    if (mailbox_offset > bytes_.at(i) || bytes_[i] - mailbox_offset < sizeof(Mailbox)) {
        throw std::invalid_argument("mailbox: expected an offset in the arena, got " +
                                    std::to_string(mailbox_offset));
    }
    return {bases_[i], bytes_[i], reinterpret_cast<Mailbox*>(bases_[i] + mailbox_offset), pidfds_.at(i),
            label};
}

}  // namespace pyscale
