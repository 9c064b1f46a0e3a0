// Collectives that only copy, in one direction: all_gather and broadcast.
#include "kernels/copy.h"
#include "shm/collectives.h"
#include "shm/pieces.h"

namespace pyscale {

void all_gather(Group& group, Call call, const void* input, void* output, size_t bytes) {
    Letter& letter = group.open(call, bytes);
    const auto* own = static_cast<const std::byte*>(input);
    auto* out = static_cast<std::byte*>(output);

    if (bytes <= group.tuning().eager_bytes) {
        copy_bytes(letter.payload_for(bytes), input, bytes);
        group.announce();
        group.meet();
        for (int peer = 0; peer < group.size(); ++peer) {
            copy_bytes(out + static_cast<size_t>(peer) * bytes, group.letter(peer).payload_for(bytes), bytes);
        }
        return;
    }
    const uint32_t flags = group.link_arrays(letter, input, bytes, nullptr, 0) & Link::input;
    const Pieces pieces(group, bytes, group.tuning().piece_bytes);
    const auto copy_in = [&](size_t i) {
        group.stores().copy(group.staging(group.rank(), pieces.number(i)), own + pieces[i].start,
                            pieces[i].count);
    };
    group.stores().begin(call.collective, bytes);
    if (enter(group, flags, Link::input, pieces.count(), [&] { copy_in(0); }) == Path::linked) {
        for (int k = 0; k < group.size(); ++k) {
            const int peer = (group.rank() + k) % group.size();
            copy_bytes(out + static_cast<size_t>(peer) * bytes, group.input(peer), bytes);
        }
        return group.step();
    }
    run_pipeline(group, pieces.count(), copy_in, [&](size_t i) {
        const Slice piece = pieces[i];
        for (int k = 1; k < group.size(); ++k) {
            const int peer = (group.rank() + k) % group.size();
            copy_bytes(out + static_cast<size_t>(peer) * bytes + piece.start,
                       group.staging(peer, pieces.number(i)), piece.count);
        }
        copy_bytes(out + static_cast<size_t>(group.rank()) * bytes + piece.start, own + piece.start,
                   piece.count);
    });
}

void broadcast(Group& group, Call call, void* data, size_t bytes) {
    Letter& letter = group.open(call, bytes);
    const bool is_root = group.rank() == call.root;
    auto* own = static_cast<std::byte*>(data);

    if (bytes <= group.tuning().eager_bytes) {
        if (is_root) copy_bytes(letter.payload_for(bytes), data, bytes);
        group.announce();
        group.meet();
        if (!is_root) copy_bytes(data, group.letter(call.root).payload_for(bytes), bytes);
        return;
    }
    // Only root's array must be seen; the others join whichever way root goes.
    uint32_t flags = Link::input;
    if (is_root) flags = group.link_arrays(letter, data, bytes, nullptr, 0) & Link::input;
    const Pieces pieces(group, bytes, group.tuning().piece_bytes);
    const auto copy_in = [&](size_t i) {
        if (is_root)
            group.stores().copy(group.staging(group.rank(), pieces.number(i)), own + pieces[i].start,
                                pieces[i].count);
    };
    group.stores().begin(call.collective, bytes);
    if (enter(group, flags, Link::input, pieces.count(), [&] { copy_in(0); }) == Path::linked) {
        if (!is_root) copy_bytes(data, group.input(call.root), bytes);
        return group.step();
    }
    run_pipeline(group, pieces.count(), copy_in, [&](size_t i) {
        if (!is_root)
            copy_bytes(own + pieces[i].start, group.staging(call.root, pieces.number(i)), pieces[i].count);
    });
}

}  // namespace pyscale
