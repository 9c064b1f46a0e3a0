#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/copy.h"
#include "shm/collectives.h"
#include "shm/pieces.h"

namespace pyscale {

void all_to_all(Group& group, Call call, const void* input, const std::vector<uint64_t>& send_bytes,
                void* output, const std::vector<uint64_t>& receive_bytes) {
    call.collective = Collective::all_to_all;
    const size_t ranks = static_cast<size_t>(group.size());
    Letter& letter = group.open(call, 0);
    // The letter carries both tables: who sends how much to whom, and who expects how much from whom.
    const size_t table_bytes = ranks * sizeof(uint64_t);
    std::memcpy(letter.payload, send_bytes.data(), table_bytes);
    std::memcpy(letter.payload + table_bytes, receive_bytes.data(), table_bytes);
    uint64_t total = 0;
    for (const uint64_t bytes : send_bytes) total += bytes;
    group.announce(group.link_arrays(letter, input, total, nullptr, 0) & Link::input);
    group.meet();

    const auto sends = [&](int from, size_t to) {
        uint64_t value;
        std::memcpy(&value, group.letter(from).payload + to * sizeof value, sizeof value);
        return value;
    };
    const auto expects = [&](int at, size_t from) {
        uint64_t value;
        std::memcpy(&value, group.letter(at).payload + table_bytes + from * sizeof value, sizeof value);
        return value;
    };
    uint64_t largest = 0;
    bool linked = true;
    for (int from = 0; from < group.size(); ++from) {
        linked &= (group.flags(from) & Link::input) != 0;
        for (int to = 0; to < group.size(); ++to) {
            const uint64_t sent = sends(from, static_cast<size_t>(to));
            const uint64_t expected = expects(to, static_cast<size_t>(from));
            if (sent != expected) {
                throw CallMismatch("all_to_all: expected " + std::to_string(expected) + " bytes at " +
                                   group.label(to) + " from " + group.label(from) + ", which sends " +
                                   std::to_string(sent));
            }
            largest = std::max(largest, sent);
        }
    }
    // Where in each peer's input this rank's block starts, and where each peer's block starts in the output.
    const size_t self = static_cast<size_t>(group.rank());
    const auto block_start = [&](int from) {
        uint64_t start = 0;
        for (size_t to = 0; to < self; ++to) start += sends(from, to);
        return start;
    };
    const auto* own = static_cast<const std::byte*>(input);
    auto* out = static_cast<std::byte*>(output);
    if (linked) {
        for (int peer = 0; peer < group.size(); ++peer) {
            copy_bytes(out, group.input(peer) + block_start(peer), receive_bytes[peer]);
            out += receive_bytes[peer];
        }
        return group.step();
    }
    // A piece holds a part of the block for each peer, in slots of equal size.
    const size_t slot = Group::kStagingBufferBytes / ranks;
    const Pieces pieces(group, largest, slot);
    group.advance_pieces(pieces.count());
    const auto part_of = [&](uint64_t block, size_t i) {
        const uint64_t start = std::min<uint64_t>(block, i * slot);
        return Slice{start, std::min<uint64_t>(slot, block - start)};
    };
    const auto copy_in = [&](size_t i) {
        const std::byte* from = own;
        for (size_t to = 0; to < ranks; ++to) {
            const Slice part = part_of(send_bytes[to], i);
            if (to != self)
                group.stores().copy(group.staging(group.rank(), pieces.number(i)) + to * slot,
                                    from + part.start, part.count);
            from += send_bytes[to];
        }
    };
    const auto copy_out = [&](size_t i) {
        std::byte* to = out;
        for (int from = 0; from < group.size(); ++from) {
            const Slice part = part_of(receive_bytes[from], i);
            const std::byte* source = from == group.rank()
                                          ? own + block_start(from) + part.start
                                          : group.staging(from, pieces.number(i)) + self * slot;
            copy_bytes(to + part.start, source, part.count);
            to += receive_bytes[from];
        }
    };
    if (pieces.count() == 0) return;
    group.stores().begin(call.collective, largest * ranks);
    {
        const Stores::Work work(group.stores());
        copy_in(0);
    }
    group.step();
    run_pipeline(group, pieces.count(), copy_in, copy_out);
}

}  // namespace pyscale
