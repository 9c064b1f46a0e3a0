
#include "kernels/copy.h"
#include "shm/collectives.h"
#include "shm/pieces.h"

namespace pyscale {

// Folds block `rank` of all inputs, in place where the peers' inputs can be seen, else piece by piece through
// staging. A piece holds a part of each block: the same part, one block after the other.
void reduce_scatter(Group& group, Call call, const Fold& fold, const void* input, void* output,
                    size_t count) {
    call.collective = Collective::reduce_scatter;
    call.op = fold.op;
    Letter& letter = group.open(call, count);
    const size_t item = itemsize(fold.in);
    const size_t ranks = static_cast<size_t>(group.size());
    const auto* own = static_cast<const std::byte*>(input);
    auto* out = static_cast<std::byte*>(output);
    const uint32_t flags = group.link_arrays(letter, input, ranks * count * item, nullptr, 0) & Link::input;

    // Every rank needs a part of each block, so that many ranks make the parts small, never empty.
    const Pieces pieces(group, count, std::max<size_t>(1, Group::kStagingBufferBytes / ranks / item));
    const auto copy_in = [&](size_t i) {
        const Slice part = pieces[i];
        std::byte* staging = group.staging(group.rank(), pieces.number(i));
        for (size_t block = 0; block < ranks; ++block) {
            if (static_cast<int>(block) == group.rank()) continue;
            group.stores().copy(staging + block * part.count * item,
                                own + (block * count + part.start) * item, part.count * item);
        }
    };
    const auto fold_block = [&](size_t start, size_t elements) {
        void* destination = out + start * itemsize(fold.out);
        reduce(fold.in, fold.out, fold.op, group.sources(), group.size(), &destination, 1, elements,
               fold.divisor);
    };
    const size_t block = static_cast<size_t>(group.rank());

    group.stores().begin(call.collective, ranks * count * item);
    const Path path = enter(group, flags, Link::input, pieces.count(), [&] {
        if (count > 0) copy_in(0);
    });
    if (path == Path::linked) {
        for (int peer = 0; peer < group.size(); ++peer)
            group.sources()[peer] = group.input(peer) + block * count * item;
        fold_block(0, count);
        return group.step();
    }
    run_pipeline(group, pieces.count(), copy_in, [&](size_t i) {
        const Slice part = pieces[i];
        for (int peer = 0; peer < group.size(); ++peer) {
            group.sources()[peer] = group.staging(peer, pieces.number(i)) + block * part.count * item;
        }
        group.sources()[group.rank()] = own + (block * count + part.start) * item;
        fold_block(part.start, part.count);
    });
}

}  // namespace pyscale
