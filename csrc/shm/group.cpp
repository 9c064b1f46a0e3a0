#include "shm/group.h"

#include <poll.h>

#include <cstring>
#include <map>

#include "core/parallel.h"
#include "shm/arena.h"

namespace pyscale {

namespace {

const char* reason(Failure kind) {
    switch (kind) {
        case Failure::none: break;
        case Failure::timeout: return "was too late";
        case Failure::death: return "died";
        case Failure::departure: return "left (it has shut pyscale down, or is exiting)";
        case Failure::interruption: return "was interrupted";
    }
    return "failed";
}

std::string join(const std::vector<int>& labels) {
    std::string text = labels.size() == 1 ? "rank " : "ranks ";
    for (size_t i = 0; i < labels.size(); ++i) {
        if (i > 0) text += i + 1 == labels.size() ? " and " : ", ";
        text += std::to_string(labels[i]);
    }
    return text;
}

std::string seconds(double value) {
    char text[32];
    snprintf(text, sizeof text, "%g s", value);
    return text;
}

}  // namespace

Group::Group(std::vector<Member> members, int rank, const Options& options)
    : members_(std::move(members)),
      rank_(rank),
      options_(options),
      tuning_(Tuning::for_ranks(size(), options.cores)),
      patience_(Patience::for_ranks(size(), options.cores)),
      sources_(members_.size()),
      destinations_(members_.size()) {}

Letter& Group::open(const Call& call, uint64_t count) {
    if (in_forked_child()) {
        throw CommFailure(Failure::none,
                          std::string(name(call.collective)) +
                              ": expected the process that joined the job, got a forked child");
    }
    if (!unusable_.empty()) {
        throw CommFailure(Failure::none,
                          std::string(name(call.collective)) +
                              ": expected a working communicator, got one given up earlier: " + unusable_);
    }
    ++seq_;
    blocked_ = false;
    Letter& letter = mine().letters[seq_ % 2];
    letter.call = call;
    letter.announcement.signature = call.signature();
    letter.announcement.count = count;
    return letter;
}

void Group::announce(uint32_t flags) {
    Announcement& announcement = mine().letters[seq_ % 2].announcement;
    announcement.flags = flags | stores_.news() << 16;
    publish(announcement.seq, seq_, mine().sleepers);
}

void Group::meet() {
    await(seq_word, seq_);
    const Announcement& own = mine().letters[seq_ % 2].announcement;
    bool equal = true;
    for (int peer = 0; peer < size(); ++peer) {
        const Announcement& other = letter(peer).announcement;
        equal &= other.signature == own.signature && other.count == own.count;
    }
    if (!equal) report_mismatch();
    if (stores_.news() != 0) {
        uint32_t costs = 0;
        for (int peer = 0; peer < size(); ++peer) costs += flags(peer) >> 16;
        stores_.learn(costs);
    }
}

void Group::step() {
    ++step_;
    publish(mine().step, step_, mine().sleepers);
    await(step_word, step_);
}

Link Group::link(int rank) {
    Link link;
    std::memcpy(&link, letter(rank).announcement.payload, sizeof link);
    return link;
}

uint32_t Group::link_arrays(Letter& letter, const void* input, size_t input_bytes, const void* output,
                            size_t output_bytes) const {
    Link link{};
    uint32_t flags = 0;
    const std::byte* base = members_[rank_].arena;
    const size_t room = members_[rank_].arena_bytes;
    if (lies_within(input, input_bytes, base, room)) {
        link.input_offset = static_cast<uint64_t>(static_cast<const std::byte*>(input) - base);
        flags |= Link::input;
    }
    if (lies_within(output, output_bytes, base, room)) {
        link.output_offset = static_cast<uint64_t>(static_cast<const std::byte*>(output) - base);
        flags |= Link::output;
    }
    std::memcpy(letter.announcement.payload, &link, sizeof link);
    return flags;
}

void Group::await(WordOf word_of, uint32_t target) {
    for (int k = 1; k < size(); ++k) {
        const int peer = (rank_ + k) % size();  // not all at the same line at once
        const std::atomic<uint32_t>& word = word_of(*members_[peer].mailbox, target);
        if (reached(word.load(std::memory_order_acquire), target)) continue;
        if (stay_awake_until(word, target, {patience_.spins, 0})) continue;
        if (!blocked_) {
            blocked_ = true;
            hooks_.before_block();
        }
        if (stay_awake_until(word, target, {0, patience_.yields})) continue;
        block(word_of, target, peer);
    }
}

void Group::block(WordOf word_of, uint32_t target, int peer) {
    const Clock::time_point start = Clock::now();
    Mailbox& mailbox = *members_[peer].mailbox;
    try {
        sleep_until(word_of(mailbox, target), target, mailbox.sleepers,
                    [&] { check_slice(word_of, target, peer, start); });
    } catch (const CommFailure&) {
        throw;
    } catch (...) {  // the caller's own exception, Ctrl-C above all
        abandon("this rank was interrupted in " + mine().letters[seq_ % 2].call.text());
        throw;
    }
}

void Group::check_slice(WordOf word_of, uint32_t target, int peer, Clock::time_point start) {
    hooks_.on_slice();
    const auto late = [&] { return missing(word_of, target); };
    check_peers(late);
    const bool gone = departed(peer);
    const std::atomic<uint32_t>& word = word_of(*members_[peer].mailbox, target);
    if (reached(word.load(std::memory_order_acquire), target)) return;
    if (gone) fail(Failure::departure, peer, late());
    const double waited = std::chrono::duration<double>(Clock::now() - start).count();
    if (waited >= options_.timeout) fail(Failure::timeout, peer, late());
}

void Group::check_peers(const std::function<std::string()>& missing) {
    // Deaths first: peers that gave up or were interrupted may have been so because of one.
    for (int other = 0; other < size(); ++other) {
        pollfd watched{members_[other].pidfd, POLLIN, 0};
        if (other == rank_ || watched.fd < 0 || poll(&watched, 1, 0) <= 0) continue;
        if ((watched.revents & POLLIN) == 0) continue;  // closed under us
        if (!departed(other)) fail(Failure::death, other, missing());
    }
    for (int other = 0; other < size(); ++other) {
        const uint32_t failure = members_[other].mailbox->failure.load(std::memory_order_acquire);
        const auto kind = static_cast<Failure>(failure >> 16);
        if (other == rank_ || kind == Failure::none || kind == Failure::departure) continue;
        fail(kind, static_cast<int>(failure & 0xFFFF), missing());
    }
}

void Group::check() {
    check_peers([] { return std::string("a rank of this node"); });
}

bool Group::departed(int peer) const {
    const auto* state = reinterpret_cast<const ProcessState*>(members_[peer].arena);
    const uint32_t failure = members_[peer].mailbox->failure.load(std::memory_order_acquire);
    return state->departed.load(std::memory_order_acquire) != 0 ||
           static_cast<Failure>(failure >> 16) == Failure::departure;
}

void Group::tell_peers(Failure kind, int culprit) {
    mine().failure.store(static_cast<uint32_t>(kind) << 16 | static_cast<uint32_t>(culprit),
                         std::memory_order_release);
}

void Group::close() {
    if (!unusable_.empty() || in_forked_child()) return;  // a child speaks for nobody
    unusable_ = "it was closed";
    tell_peers(Failure::departure, rank_);
}

void Group::abandon(const std::string& why, Failure kind) {
    if (failed_ || in_forked_child()) return;
    unusable_ = why;
    failed_ = true;
    tell_peers(kind, rank_);
}

void Group::fail(Failure kind, int culprit, const std::string& what) {
    const std::string who = "rank " + std::to_string(members_[culprit].label) + " " + reason(kind);
    unusable_ = who;
    failed_ = true;
    tell_peers(kind, culprit);
    std::string message = mine().letters[seq_ % 2].call.text() + ": expected every rank within " +
                          seconds(options_.timeout) + ", got no answer from " + what;
    if (kind != Failure::timeout) message += "; " + who;
    throw CommFailure(kind, message);
}

std::string Group::missing(WordOf word_of, uint32_t target) {
    std::vector<int> late;
    for (int peer = 0; peer < size(); ++peer) {
        const std::atomic<uint32_t>& word = word_of(*members_[peer].mailbox, target);
        if (!reached(word.load(std::memory_order_acquire), target)) late.push_back(peer);
    }
    std::vector<int> labels;
    for (const int peer : late) labels.push_back(members_[peer].label);
    if (late.empty()) return "a peer that gave up";
    std::string text = join(labels);
    for (const int peer : late) {
        text += " (rank " + std::to_string(members_[peer].label) + ": " + last_call(peer) + ")";
        if (late.size() > 4) break;  // enough to find the place
    }
    return text;
}

std::string Group::last_call(int peer) {
    Mailbox& mailbox = *members_[peer].mailbox;
    if (reached(mailbox.letters[seq_ % 2].announcement.seq.load(std::memory_order_acquire), seq_)) {
        return "in this call";
    }
    // Where this rank has announced, the peer may just be rewriting it: a torn text, in a message only.
    Letter& last = mailbox.letters[(seq_ - 1) % 2];
    if (last.announcement.seq.load(std::memory_order_acquire) == 0) return "made no call yet";
    return "last in " + last.call.text();
}

void Group::report_mismatch() {
    std::map<std::string, std::vector<int>> callers;
    for (int peer = 0; peer < size(); ++peer)
        callers[letter(peer).call.text()].push_back(members_[peer].label);
    std::string message = std::string(name(mine().letters[seq_ % 2].call.collective)) +
                          ": expected the same call on every rank, got ";
    bool first = true;
    for (const auto& [text, labels] : callers) {
        message += std::string(first ? "" : "; ") + text + " on " + join(labels);
        first = false;
    }
    throw CallMismatch(message);
}

}  // namespace pyscale
