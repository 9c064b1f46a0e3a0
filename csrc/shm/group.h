// The ranks of one node that call collectives together, as one of them sees it.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "shm/call.h"
#include "shm/mailbox.h"
#include "shm/stores.h"
#include "shm/tuning.h"
#include "shm/waiting.h"

namespace pyscale {

// The group cannot go on: a peer is late, dead or gone, or this rank was interrupted.
class CommFailure : public std::runtime_error {
   public:
    CommFailure(Failure kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
    const Failure kind;
};

// Ranks called different things. Nothing was moved, and the group is still usable.
class CallMismatch : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// What the caller's language needs around a wait.
struct Hooks {
    std::function<void()> before_block = [] {};  // once a call, before it first gives up the core
    std::function<void()> on_slice = [] {
    };  // now and then while asleep, and after a signal; ends the wait by throwing
};

// An array of the caller's, where the peers can see it: its offset in this rank's arena. The upper half of an
// announcement's flags is not about arrays: it has Stores::news().
struct Link {
    enum Flag : uint32_t { input = 1, output = 2 };
    uint64_t input_offset;
    uint64_t output_offset;
};

class Group {
   public:
    struct Member {
        std::byte* arena;
        size_t arena_bytes;
        Mailbox* mailbox;
        int pidfd;  // readable once the process is dead; -1: not watched
        int label;  // what messages call this rank
    };
    struct Options {
        double timeout = 300.0;  // seconds
        int cores = 1;           // that the members share
        Algorithm algorithm = Algorithm::automatic;
    };

    Group(std::vector<Member> members, int rank, const Options& options);

    int rank() const { return rank_; }
    int size() const { return static_cast<int>(members_.size()); }
    std::string label(int rank) const { return "rank " + std::to_string(members_[rank].label); }
    const Options& options() const { return options_; }
    const Tuning& tuning() const { return tuning_; }
    void set_timeout(double seconds) { options_.timeout = seconds; }
    // For calibration; the same on every rank.
    void set_algorithm(Algorithm algorithm) { options_.algorithm = algorithm; }
    void set_tuning(const Tuning& tuning) { tuning_ = tuning; }
    void set_patience(const Patience& patience) { patience_ = patience; }
    void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }
    // Leaves the group in order: peers that still wait for this rank fail, and so does its next call.
    void close();
    // Gives the group up for a failure elsewhere, so that its peers do not wait for this rank.
    void abandon(const std::string& why, Failure kind = Failure::interruption);

    // A call has this course on every rank: `open` it, fill the payload of the letter, `announce`, `meet`;
    // then, if data moves in phases, `step` as often as the peers do.
    Letter& open(const Call& call, uint64_t count);
    void announce(uint32_t flags = 0);
    // Waits for every peer's announcement, and throws CallMismatch where they differ.
    void meet();
    // A barrier between two phases of a call.
    void step();

    // Whether the group was given up, here or by a failed peer.
    bool broken() const { return failed_; }
    // Between calls, while this rank waits for something else: throws CommFailure where a peer has failed.
    void check();

    // Of the call under way, after `meet`.
    Letter& letter(int rank) { return members_[rank].mailbox->letters[seq_ % 2]; }
    uint32_t flags(int rank) { return letter(rank).announcement.flags; }
    Link link(int rank);
    const std::byte* input(int rank) { return members_[rank].arena + link(rank).input_offset; }
    std::byte* output(int rank) { return members_[rank].arena + link(rank).output_offset; }

    // Puts the offsets of the caller's arrays into the letter; returns the flags to announce.
    uint32_t link_arrays(Letter& letter, const void* input, size_t input_bytes, const void* output,
                         size_t output_bytes) const;

    // The staging buffer of a rank for the piece with this number. Numbers go on from call to call, so that a
    // call's first piece never lands on the last one of the call before, which a peer may still be reading.
    static constexpr int kStagingBuffers = 3;
    static constexpr size_t kStagingBufferBytes = kStagingBytes / kStagingBuffers;
    std::byte* staging(int rank, uint64_t piece) {
        return members_[rank].mailbox->staging + piece % kStagingBuffers * kStagingBufferBytes;
    }
    // How data gets there.
    Stores& stores() { return stores_; }
    uint64_t next_piece() const { return pieces_; }
    void advance_pieces(uint64_t count) {
        pieces_ += count;
    }  // only after `meet`, where all ranks advance alike

    // Room for one pointer a rank, so that no call allocates.
    const void** sources() { return sources_.data(); }
    void** destinations() { return destinations_.data(); }

   private:
    using Clock = std::chrono::steady_clock;
    using WordOf = std::atomic<uint32_t>& (*)(Mailbox&, uint32_t target);

    static std::atomic<uint32_t>& seq_word(Mailbox& mailbox, uint32_t target) {
        return mailbox.letters[target % 2].announcement.seq;
    }
    static std::atomic<uint32_t>& step_word(Mailbox& mailbox, uint32_t) { return mailbox.step; }

    Mailbox& mine() { return *members_[rank_].mailbox; }
    void await(WordOf word_of, uint32_t target);
    void block(WordOf word_of, uint32_t target, int peer);
    void check_slice(WordOf word_of, uint32_t target, int peer, Clock::time_point start);
    void check_peers(const std::function<std::string()>& missing);
    void tell_peers(Failure kind, int culprit);
    [[noreturn]] void fail(Failure kind, int culprit, const std::string& what);
    [[noreturn]] void report_mismatch();
    std::string missing(WordOf word_of, uint32_t target);
    std::string last_call(int peer);
    bool departed(int peer) const;  // from the group, or from the job

    std::vector<Member> members_;
    int rank_;
    Options options_;
    Tuning tuning_;
    Patience patience_;
    Hooks hooks_;
    uint32_t seq_ = 0;
    uint32_t step_ = 0;
    uint64_t pieces_ = 0;
    Stores stores_;
    std::vector<const void*> sources_;
    std::vector<void*> destinations_;
    bool blocked_ = false;  // before_block was called in this call
    std::string unusable_;  // why the group takes no more calls; empty while it does
    bool failed_ = false;
};

}  // namespace pyscale
