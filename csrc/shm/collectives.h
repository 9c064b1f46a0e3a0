// The collectives of one node. Every one of them: all ranks of the group call it with equal arguments
// (checked: CallMismatch), it returns once this rank's output is whole and this rank's input may be changed,
// and throws CommFailure where a peer fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/partition.h"
#include "shm/group.h"

namespace pyscale {

// How elements are combined: types as kernels/reduce.h has them.
struct Fold {
    Op op;
    DType in;
    DType out;
    int64_t divisor;  // of op mean

    static Fold of(Op op, DType dtype, int64_t divisor) { return {op, dtype, dtype, divisor}; }
};

void barrier(Group& group);

// `call` carries dtype, op, root and shape as the user gave them. Counts are in elements, sizes in bytes.
void all_reduce(Group& group, Call call, const Fold& fold, const void* input, void* output, size_t count);
// `input` has size() blocks of `count` elements; block r, reduced, goes to rank r's `output`.
void reduce_scatter(Group& group, Call call, const Fold& fold, const void* input, void* output, size_t count);
// `output` receives size() blocks of `bytes`. Here and in broadcast, `call` also says which collective it is
// for.
void all_gather(Group& group, Call call, const void* input, void* output, size_t bytes);
// In place: root's `data` goes to every rank's `data`.
void broadcast(Group& group, Call call, void* data, size_t bytes);
// One block a peer, in rank order and without gaps, on both sides.
void all_to_all(Group& group, Call call, const void* input, const std::vector<uint64_t>& send_bytes,
                void* output, const std::vector<uint64_t>& receive_bytes);
// Where an exchange stages its rows: Group::kStagingBuffers buffers, one after the other, in this rank's
// arena.
struct RowStaging {
    std::byte* data;
    size_t buffer_bytes;
};
RowStaging own_staging(Group& group);  // the group's
// What a buffer has room for: windows of the rows may be no larger.
size_t largest_window(const Group& group, const RowStaging& staging);
// Each row to the rank that it is for. Rank i of the group is number ranks[i] among the destinations; rows
// for others are left out. What comes from rank i goes to outputs[i], and is output_bytes[i].
void exchange(Group& group, Call call, Partition& rows, const std::vector<size_t>& ranks,
              const RowStaging& staging, const std::vector<std::byte*>& outputs,
              const std::vector<uint64_t>& output_bytes);

}  // namespace pyscale
