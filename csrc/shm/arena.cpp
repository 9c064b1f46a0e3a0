#include "shm/arena.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <new>
#include <set>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "core/parallel.h"

namespace pyscale {

namespace {

constexpr size_t kPage = 4096;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// The arenas of this process; locked while it forks, so that the child finds them whole.
struct Arenas {
    std::mutex mutex;
    std::set<Arena*> all;

    static Arenas& get() {
        static auto* const arenas = new Arenas;
        static const int registered =
            pthread_atfork([] { arenas->mutex.lock(); }, [] { arenas->mutex.unlock(); },
                           [] {
                               for (Arena* arena : arenas->all) arena->leave_to_parent();
                               arenas->mutex.unlock();
                           });
        static_cast<void>(registered);
        return *arenas;
    }
};

}  // namespace

Mapping::Mapping(int fd, size_t bytes) : bytes_(bytes) {
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED) fail("mmap of a shared-memory arena");
    madvise(base, bytes, MADV_DONTDUMP);  // a core file holds this process's memory, not its whole node's
    base_ = static_cast<std::byte*>(base);
}

Mapping::~Mapping() { munmap(base_, bytes_); }

void LentBlock::join() {
    uint32_t count = users.load(std::memory_order_acquire);
    do {
        if (count == 0) throw std::runtime_error("shared block: expected one in use, got one given back");
    } while (!users.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel));
}

void LentBlock::leave() {
    if (in_forked_child()) return;  // a child's arrays are its parent's
    uint32_t count = users.load(std::memory_order_acquire);
    for (;;) {
        // Nobody joins what nobody else uses; and once it says 0, the block may be another's.
        if (count == 1) madvise(data(), bytes, MADV_REMOVE);
        if (users.compare_exchange_weak(count, count - 1, std::memory_order_acq_rel)) return;
    }
}

Arena::Arena(size_t bytes) : fd_(memfd_create("pyscale", MFD_CLOEXEC)), mapping_(nullptr) {
    if (fd_ < 0) fail("memfd_create");
    bytes = whole_pages(bytes);
    try {
        if (ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail("ftruncate of a shared-memory arena");
        mapping_ = new Mapping(fd_, bytes);
    } catch (...) {
        close(fd_);
        throw;
    }
    free_[0] = bytes;
    Arenas& arenas = Arenas::get();
    const std::lock_guard<std::mutex> lock(arenas.mutex);
    arenas.all.insert(this);
}

Arena::~Arena() {
    {
        Arenas& arenas = Arenas::get();
        const std::lock_guard<std::mutex> lock(arenas.mutex);
        arenas.all.erase(this);
    }
    delete mapping_;
    close(fd_);
}

void Arena::leave_to_parent() {
    if (left_) return;  // a child's child: the pages are private already, and may have been written
    left_ = true;
    constexpr int kFlags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    if (mmap(base(), bytes(), PROT_READ | PROT_WRITE, kFlags, fd_, 0) == MAP_FAILED) {
        mmap(base(), bytes(), PROT_READ, kFlags, fd_, 0);  // where the kernel counts what might be written
    }
    madvise(base(), bytes(), MADV_DONTDUMP);
}

size_t Arena::resident_bytes() const {
    struct stat info{};
    if (fstat(fd_, &info) != 0) fail("fstat of a shared-memory arena");
    return static_cast<size_t>(info.st_blocks) * 512;
}

size_t Arena::take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
        const auto [offset, room] = *it;
        if (room < bytes) continue;
        free_.erase(it);
        if (room > bytes) free_[offset + bytes] = room - bytes;
        used_[offset] = bytes;
        return offset;
    }
    throw std::bad_alloc();
}

bool Arena::make_pages(size_t offset, size_t bytes) {
    constexpr size_t kChunk = size_t{64} << 20;  // a signal undoes what one call has done
    while (bytes > 0) {
        const size_t chunk = std::min(bytes, kChunk);
        if (fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(chunk)) == 0) {
            offset += chunk;
            bytes -= chunk;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

size_t Arena::lend(size_t bytes) {
    if (bytes > this->bytes()) throw std::bad_alloc();
    const size_t whole = whole_pages(bytes);
    const size_t offset = allocate(LentBlock::kHeaderBytes + whole, true);
    auto* block = reinterpret_cast<LentBlock*>(base() + offset);
    block->bytes = whole;
    block->users.store(1, std::memory_order_release);
    const std::lock_guard<std::mutex> lock(mutex_);
    lent_.insert(offset);
    return offset;
}

void Arena::take_back() {
    std::vector<size_t> idle;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (auto it = lent_.begin(); it != lent_.end();) {
            const auto* block = reinterpret_cast<const LentBlock*>(base() + *it);
            const bool is_idle = block->users.load(std::memory_order_acquire) == 0;
            if (is_idle) idle.push_back(*it);
            it = is_idle ? lent_.erase(it) : std::next(it);
        }
    }
    for (const size_t offset : idle) free(offset);
}

size_t Arena::allocate(size_t bytes, bool populate) {
    if (in_forked_child()) {
        throw std::runtime_error("empty: expected the process that joined the job, got a forked child");
    }
    take_back();
    if (bytes > this->bytes()) throw std::bad_alloc();
    bytes = whole_pages(bytes == 0 ? 1 : bytes);
    const size_t offset = take(bytes);
    if (populate && !make_pages(offset, bytes)) {
        free(offset);
        throw std::bad_alloc();
    }
    return offset;
}

void Arena::quarantine() {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_.clear();
}

void Arena::free(size_t offset) {
    if (in_forked_child()) return;  // a child's arrays are its parent's
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto block = used_.find(offset);
    if (block == used_.end()) return;  // in quarantine
    size_t bytes = block->second;
    used_.erase(block);
    // Gives the pages back to the machine; the next block here starts as zeros again.
    fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
              static_cast<off_t>(bytes));
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + bytes == next->first) {
        bytes += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == offset) {
            before->second += bytes;
            return;
        }
    }
    free_[offset] = bytes;
}

}  // namespace pyscale
