// What a rank says about the collective it has entered, so that its peers can compare it with their own.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "kernels/reduce.h"

namespace pyscale {

enum class Collective : uint8_t {
    barrier,
    all_reduce,
    reduce_scatter,
    all_gather,
    broadcast,
    all_to_all,
    all_to_all_counts,  // an all_to_all whose ranks first tell each other how much
    exchange,           // rows, each to the rank that it is for
    // Made of the above, and told apart from them: a mismatch is then named as what the user called.
    all_gather_object,
    broadcast_object,
    split,
};

const char* name(Collective);
// Throws std::invalid_argument for a name it does not know.
Collective parse_collective(const std::string& name);

// Plain data: it is read from shared memory by other processes.
struct Call {
    static constexpr int kMaxDims = 10;

    Collective collective = Collective::barrier;
    Op op = Op::sum;
    DType dtype = DType::uint8;
    int8_t ndim = 0;    // of the caller's array; those past kMaxDims count in the signature, but are not kept
    int32_t root = -1;  // broadcast only
    int64_t shape[kMaxDims] = {};
    uint64_t shape_hash = 0;

    // Takes over the shape of the caller's array.
    void set_shape(const int64_t* dims, int count);
    // Equal for calls that match; calls that do not match differ in it (shapes: but for one in 2^40).
    uint64_t signature() const;
    // As a message has it: "all_reduce(op=sum, float32, shape (4, 3))".
    std::string text() const;
};

}  // namespace pyscale
