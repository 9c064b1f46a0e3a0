// In which order a mixture takes from its parts: any part of that order is found by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyscale {

// Draw t of a stream is from one of the parts, and the draws of a part are numbered from 0. The parts are the
// leaves of a binary tree; of the first t draws that come to a node, floor((t l + c) / (l + r)) go left,
// where l and r are the weights below, and c a phase that the seed gives. So, at every t, the draws of each
// part are known from t alone, they never go back, and they differ from what the weights want by less than
// the depth of the tree; where that is a whole number at all nodes, it is met.
//
// Such a stream is regular: every n-th of its draws may come from one part. So an epoch, which is `length`
// draws, takes them in blocks of kBlock, each shuffled.
class Interleave {
   public:
    static constexpr int64_t kBlock = 256;

    // Weights from 0, some of them above, with a sum below 2^62. Epoch e has the draws from e * length on,
    // and ends before draw 2^62. Throws std::invalid_argument for others.
    Interleave(const std::vector<int64_t>& weights, int64_t length, uint64_t seed, int64_t epoch);

    int64_t length() const { return length_; }
    size_t parts() const { return parts_; }
    // For each of the positions of the epoch, which are below length: from which part it is, and which of
    // that part's draws of all epochs.
    void locate(const int64_t* positions, size_t count, int64_t* part, int64_t* number) const;
    // The draws of each part before a position of the epoch, in all epochs.
    void counts(int64_t position, int64_t* out) const;

   private:
    struct Node {
        int64_t left_weight, weight, phase;
        uint32_t right;  // the left child is the next node
        uint32_t part;   // of a leaf
    };
    void build(const std::vector<int64_t>& weights, size_t first, size_t last, uint64_t seed);
    // The order of a block's draws, by Fisher and Yates.
    struct Block {
        int64_t number = -1;
        int16_t place[kBlock];
    };
    // The draw of the epoch at a position; `block` is the one that was used last.
    int64_t draw_at(int64_t position, Block& block) const;
    void find(int64_t draw, int64_t& part, int64_t& number) const;

    std::vector<Node> nodes_;  // depth first
    size_t parts_;
    int64_t length_, first_;
    uint64_t key_;
};

}  // namespace pyscale
