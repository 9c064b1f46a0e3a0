// The control words that one rank shows to its peers in one group.
//
// A rank writes its own mailbox and reads the others'; the exceptions are `sleepers`, where a peer says that
// it sleeps on one of this rank's words, and `failure`, which is set once by whoever owns the mailbox.
//
// Memory order. Everything that a rank hands over (a Call, a payload, staged data, a slice written into a
// peer's array) is written before a release store to `announcement.seq` or `step`, and read after an acquire
// load that saw that store: two ranks never touch the same bytes without such a pair between them. When a
// buffer may be used again follows from the counters alone:
// - letters[seq % 2] and their payload are rewritten for call seq + 2. A rank that begins call seq + 2 has
//   finished seq + 1, for which it saw every peer's announcement seq + 1, which each peer makes only after it
//   has read all it needs of call seq.
// - staging buffers follow the same argument over `step`, see run_pipeline in pieces.h.
// The only store that must be ordered before a later *load* is the one that a sleeper may be waiting for
// (Dekker's pattern, see waiting.cpp); it is a seq_cst exchange.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shm/call.h"

namespace pyscale {

constexpr size_t kCacheLine = 64;
constexpr size_t kEagerBytes = 32 * 1024;  // the largest payload that travels with an announcement
// For pieces of arrays that peers cannot see; touched only when used.
constexpr size_t kStagingBytes = 3 * 1024 * 1024;

// One cache line, so that a small call costs its reader one miss: the counter, what is compared, and the
// smallest payloads.
struct alignas(kCacheLine) Announcement {
    static constexpr size_t kInlineBytes = 40;

    std::atomic<uint32_t> seq;
    uint32_t flags;      // see Link in group.h
    uint64_t signature;  // Call::signature()
    uint64_t count;      // elements; 0 where ranks may differ
    std::byte payload[kInlineBytes];
};
static_assert(sizeof(Announcement) == kCacheLine);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// An announcement, the payload that does not fit its line, and what only a message about a mismatch needs.
struct alignas(kCacheLine) Letter {
    Announcement announcement;
    std::byte payload[kEagerBytes];
    Call call;

    // Where a payload of this size lies.
    std::byte* payload_for(size_t bytes) {
        return bytes <= Announcement::kInlineBytes ? announcement.payload : payload;
    }
};

enum class Failure : uint32_t { none, timeout, death, departure, interruption };

struct Mailbox {
    Letter letters[2];                                   // by the parity of seq
    alignas(kCacheLine) std::atomic<uint32_t> step;      // phases done inside calls, over the group's life
    alignas(kCacheLine) std::atomic<uint32_t> sleepers;  // peers that sleep on a word of this mailbox
    // Failure << 16 | the rank at fault: this rank has given the group up.
    alignas(kCacheLine) std::atomic<uint32_t> failure;
    alignas(4096) std::byte staging[kStagingBytes];
};

// kFailed: it had lost a peer, and so will not be in MPI_Finalize.
enum Departure : uint32_t { kPresent, kInOrder, kFailed };

// At the start of each arena: the process's own state, whatever the group.
struct alignas(kCacheLine) ProcessState {
    // A Departure, once the process has shut pyscale down or exits.
    std::atomic<uint32_t> departed;
    // Of the first arena only: 1 + the rank whose exception ends the job; 0 = none.
    std::atomic<uint32_t> failing_rank;
    // Written by the owner, read back by the peers: proves that the memory is shared.
    uint64_t nonce;
};

}  // namespace pyscale
