// One process's shared memory: an anonymous file that its peers on the node map too.
//
// The file is a memfd: it has no name, so nothing is left behind when its processes die, however they die,
// and the size of /dev/shm does not bound it. It is sparse: pages exist once they are touched, and are given
// back when a block is freed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>

namespace pyscale {

// Whether all of [data, data + bytes) lies in [base, base + room).
inline bool lies_within(const void* data, size_t bytes, const std::byte* base, size_t room) {
    const auto first = reinterpret_cast<uintptr_t>(data), start = reinterpret_cast<uintptr_t>(base);
    return first >= start && bytes <= room && first - start <= room - bytes;
}

// A mapping of an arena, one's own or a peer's.
class Mapping {
   public:
    Mapping(int fd, size_t bytes);
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    std::byte* base() const { return base_; }
    size_t bytes() const { return bytes_; }

   private:
    std::byte* base_;
    size_t bytes_;
};

// The first page of a block that several processes use, and what follows it.
struct LentBlock {
    static constexpr size_t kHeaderBytes = 4096;

    std::atomic<uint32_t> users;
    uint64_t bytes;

    std::byte* data() { return reinterpret_cast<std::byte*>(this) + kHeaderBytes; }
    // Throws std::runtime_error where nobody uses it any more.
    void join();
    // The last one to leave gives the pages back.
    void leave();
};

class Arena {
   public:
    // Throws std::system_error where the kernel refuses memory of this size.
    explicit Arena(size_t bytes);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    int fd() const { return fd_; }
    std::byte* base() const { return mapping_->base(); }
    size_t bytes() const { return mapping_->bytes(); }
    // Pages that exist now, in bytes.
    size_t resident_bytes() const;

    // The offset of a zeroed block, aligned to a page. Its pages exist at once with `populate`, else as they
    // are touched. Throws std::bad_alloc when the arena or the machine is full.
    size_t allocate(size_t bytes, bool populate);
    void free(size_t offset);
    // The same for a block that peers use as well, each through its own mapping of this arena. Here it is
    // free again once the last of them has let go; its pages are given back already then.
    size_t lend(size_t bytes);
    // The blocks in use are never given back: a peer that comes late to a failed call may still write there.
    void quarantine();
    // In a forked child: what it writes is seen by nobody else. Its parent may have freed the array, and
    // given the memory to another.
    void leave_to_parent();

    // Whether all of [data, data + bytes) lies in this arena.
    bool contains(const void* data, size_t bytes) const {
        return lies_within(data, bytes, base(), this->bytes());
    }

   private:
    size_t take(size_t bytes);
    void take_back();
    // Asked for at once, pages that the machine has not are an error and not a SIGBUS later; false then.
    bool make_pages(size_t offset, size_t bytes);

    int fd_;
    Mapping* mapping_;
    std::mutex mutex_;
    std::map<size_t, size_t> free_;  // offset -> bytes, neighbours merged
    std::map<size_t, size_t> used_;
    std::set<size_t> lent_;
    bool left_ = false;
};

}  // namespace pyscale
