// Four ways to the same bits: each element is folded over the ranks in rank order, whoever folds it and
// however it travels.
#include <algorithm>
#include <stdexcept>

#include "kernels/copy.h"
#include "shm/collectives.h"
#include "shm/pieces.h"

namespace pyscale {

namespace {

struct Job {
    Group& group;
    Fold fold;
    const std::byte* input;
    std::byte* output;
    size_t count;

    size_t item() const { return itemsize(fold.in); }
    size_t bytes() const { return count * item(); }
    // How an output is written from staging: past the caches if it is not read before and would not stay in
    // them.
    Writes output_writes() const {
        const bool fits = 2 * bytes() * static_cast<size_t>(group.size()) < group.tuning().cache_bytes;
        return fits || input == output ? Writes::cached : Writes::streamed;
    }
    // Folds group.sources() to all destinations, cached or streamed.
    void fold_to(void* const* destinations, int destination_count, size_t elements, Writes writes) const {
        if (writes == Writes::streamed) return stream_to(destinations, destination_count, elements);
        fold_into(destinations, destination_count, elements);
    }

   private:
    void fold_into(void* const* destinations, int destination_count, size_t elements) const {
        reduce(fold.in, fold.out, fold.op, group.sources(), group.size(), destinations, destination_count,
               elements, fold.divisor);
    }
    // By way of a block that stays in the nearest cache. Advances group.sources().
    void stream_to(void* const* destinations, int destination_count, size_t elements) const;
};

void Job::stream_to(void* const* destinations, int destination_count, size_t elements) const {
    alignas(64) std::byte block[8192];
    void* const block_address = block;
    const size_t most = sizeof block / item();
    for (size_t done = 0; done < elements; done += most) {
        const size_t some = std::min(most, elements - done);
        fold_into(&block_address, 1, some);
        for (int i = 0; i < destination_count; ++i) {
            stream_bytes(static_cast<std::byte*>(destinations[i]) + done * item(), block, some * item());
        }
        for (int peer = 0; peer < group.size(); ++peer) {
            group.sources()[peer] = static_cast<const std::byte*>(group.sources()[peer]) + some * item();
        }
    }
    stream_fence();
}

// Every rank folds all of what lies beside the announcements: one crossing.
void eager(const Job& job) {
    Group& group = job.group;
    for (int peer = 0; peer < group.size(); ++peer) {
        group.sources()[peer] = group.letter(peer).payload_for(job.bytes());
    }
    group.sources()[group.rank()] = job.input;  // own cache rather than the copy
    void* destination = job.output;
    {
        const Stores::Work work(group.stores());
        job.fold_to(&destination, 1, job.count, Writes::cached);
    }
    group.stores().end(1);
}

// Every rank folds its slice of all arrays and writes it to all of them: no copy.
void direct(const Job& job) {
    Group& group = job.group;
    bool in_place = true;
    for (int peer = 0; peer < group.size(); ++peer) in_place &= group.input(peer) == group.output(peer);
    group.stores().begin_outputs(in_place ? 0 : job.bytes());
    const Slice slice = slice_of(job.count, group.rank(), group.size());
    if (slice.count > 0) {
        const size_t offset = slice.start * job.item();
        for (int peer = 0; peer < group.size(); ++peer) {
            group.sources()[peer] = group.input(peer) + offset;
            group.destinations()[peer] = group.output(peer) + offset;
        }
        const Stores::Work work(group.stores());
        job.fold_to(group.destinations(), group.size(), slice.count, group.stores().writes());
    }
    group.step();
    group.stores().end(1);
}

// Every rank folds all of each piece from the staging buffers: one barrier a piece, (P + 3) N bytes a rank.
struct OneShot {
    const Job& job;
    const Pieces& pieces;

    void copy_in(size_t i) const {
        const Slice piece = pieces[i];
        job.group.stores().copy(job.group.staging(job.group.rank(), pieces.number(i)),
                                job.input + piece.start * job.item(), piece.count * job.item());
    }
    void fold(size_t i) const {
        Group& group = job.group;
        const Slice piece = pieces[i];
        const size_t offset = piece.start * job.item();
        for (int peer = 0; peer < group.size(); ++peer)
            group.sources()[peer] = group.staging(peer, pieces.number(i));
        group.sources()[group.rank()] = job.input + offset;  // own cache rather than the copy
        void* destination = job.output + offset;
        job.fold_to(&destination, 1, piece.count, Writes::cached);
    }
    void run() const {
        run_pipeline(
            job.group, pieces.count(), [this](size_t i) { copy_in(i); }, [this](size_t i) { fold(i); });
    }
};

// Every rank folds its slice of each piece, and copies the other slices from those who folded them: about 5 N
// bytes a rank.
struct TwoShot {
    const Job& job;
    const Pieces& pieces;

    // Calls f(slice's offset in the staging buffer, its offset in the array, its bytes).
    template <class F>
    void with_slice(size_t i, int rank, F f) const {
        const Slice piece = pieces[i];
        const Slice slice = slice_of(piece.count, rank, job.group.size());
        f(slice.start * job.item(), (piece.start + slice.start) * job.item(), slice.count * job.item());
    }
    void copy_in(size_t i) const {
        std::byte* staging = job.group.staging(job.group.rank(), pieces.number(i));
        for (int peer = 0; peer < job.group.size(); ++peer) {
            if (peer == job.group.rank()) continue;  // nobody else reads it
            with_slice(i, peer, [&](size_t in_staging, size_t in_array, size_t bytes) {
                job.group.stores().copy(staging + in_staging, job.input + in_array, bytes);
            });
        }
    }
    void fold(size_t i) const {
        Group& group = job.group;
        with_slice(i, group.rank(), [&](size_t in_staging, size_t in_array, size_t bytes) {
            for (int peer = 0; peer < group.size(); ++peer) {
                group.sources()[peer] = group.staging(peer, pieces.number(i)) + in_staging;
            }
            group.sources()[group.rank()] = job.input + in_array;
            std::byte* const output = job.output + in_array;
            std::byte* const staging = group.staging(group.rank(), pieces.number(i)) + in_staging;
            const size_t elements = bytes / job.item();
            const Writes to_output = job.output_writes(), to_staging = group.stores().writes();
            if (to_output == to_staging) {
                void* destinations[] = {output, staging};
                return job.fold_to(destinations, 2, elements, to_output);
            }
            // One of them through the caches, and from there to the other.
            const bool output_first = to_output == Writes::cached;
            void* first = output_first ? output : staging;
            job.fold_to(&first, 1, elements, Writes::cached);
            output_first ? copy_by(to_staging, staging, output, bytes)
                         : copy_by(to_output, output, staging, bytes);
        });
    }
    void copy_out(size_t i) const {
        const Writes writes = job.output_writes();
        for (int k = 1; k < job.group.size(); ++k) {
            const int peer = (job.group.rank() + k) % job.group.size();
            const std::byte* staging = job.group.staging(peer, pieces.number(i));
            with_slice(i, peer, [&](size_t in_staging, size_t in_array, size_t bytes) {
                copy_by(writes, job.output + in_array, staging + in_staging, bytes);
            });
        }
    }
    void run() const {
        run_pipeline(
            job.group, pieces.count(), [this](size_t i) { copy_in(i); }, [this](size_t i) { fold(i); },
            [this](size_t i) { copy_out(i); });
    }
};

bool goes_eagerly(const Group& group, size_t bytes) {
    const Algorithm forced = group.options().algorithm;
    if (forced == Algorithm::automatic) return bytes <= group.tuning().eager_bytes;
    return forced == Algorithm::eager;
}

// Whether arrays in shared memory are used where they are.
bool may_link(const Group& group, size_t bytes) {
    const Algorithm forced = group.options().algorithm;
    if (forced == Algorithm::automatic) return bytes > group.tuning().eager_shared_bytes;
    return forced == Algorithm::direct;
}

bool goes_by_one_shot(const Group& group, size_t bytes) {
    const Algorithm forced = group.options().algorithm;
    if (forced == Algorithm::automatic) return bytes <= group.tuning().one_shot_bytes;
    return forced == Algorithm::one_shot;
}

}  // namespace

void all_reduce(Group& group, Call call, const Fold& fold, const void* input, void* output, size_t count) {
    const Job job{group, fold, static_cast<const std::byte*>(input), static_cast<std::byte*>(output), count};
    if (group.options().algorithm == Algorithm::eager && job.bytes() > kEagerBytes) {
        throw std::invalid_argument("all_reduce: expected at most " + std::to_string(kEagerBytes) +
                                    " bytes for algorithm eager, got " + std::to_string(job.bytes()));
    }
    call.collective = Collective::all_reduce;
    call.op = fold.op;
    Letter& letter = group.open(call, count);
    const uint32_t linked = Link::input | Link::output;
    const uint32_t flags =
        may_link(group, job.bytes()) ? group.link_arrays(letter, input, job.bytes(), output, job.bytes()) : 0;

    group.stores().begin(Collective::all_reduce, job.bytes());
    if (goes_eagerly(group, job.bytes())) {
        const auto copy_in = [&] {
            group.stores().copy(letter.payload_for(job.bytes()), input, job.bytes());
        };
        return enter(group, flags, linked, 0, copy_in) == Path::linked ? direct(job) : eager(job);
    }

    const Pieces pieces(group, count, group.tuning().piece_bytes / job.item());
    const OneShot one_shot{job, pieces};
    const TwoShot two_shot{job, pieces};
    const bool by_one_shot = goes_by_one_shot(group, job.bytes());
    const auto copy_in = [&] {
        if (count > 0) by_one_shot ? one_shot.copy_in(0) : two_shot.copy_in(0);
    };
    if (enter(group, flags, linked, pieces.count(), copy_in) == Path::linked) return direct(job);
    if (group.options().algorithm == Algorithm::direct) {
        throw std::invalid_argument(
            "all_reduce: expected arrays from Communicator.empty on every rank for algorithm direct, "
            "got an ordinary array on one");
    }
    by_one_shot ? one_shot.run() : two_shot.run();
}

}  // namespace pyscale
