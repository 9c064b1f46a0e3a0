#include "kernels/interleave.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "core/mix.h"

namespace pyscale {

namespace {

constexpr uint32_t kLeaf = 0;  // as a right child: the root is nobody's
constexpr int64_t kLimit = int64_t{1} << 62;

}  // namespace

Interleave::Interleave(const std::vector<int64_t>& weights, int64_t length, uint64_t seed, int64_t epoch)
    : parts_(weights.size()),
      length_(length),
      key_(combine({seed, static_cast<uint64_t>(epoch), weights.size()})) {
    __int128 sum = 0;
    bool negative = false;
    for (const int64_t weight : weights) sum += weight, negative = negative || weight < 0;
    const __int128 end = (static_cast<__int128>(epoch) + 1) * length;
    if (weights.empty() || negative || sum >= kLimit || (sum == 0 && length > 0) || length < 0 || epoch < 0 ||
        end >= kLimit) {
        throw std::invalid_argument("Interleave: expected weights from 0, and draws and a sum below 2^62");
    }
    first_ = length * epoch;
    nodes_.reserve(2 * parts_);
    build(weights, 0, parts_, seed);
}

void Interleave::build(const std::vector<int64_t>& weights, size_t first, size_t last, uint64_t seed) {
    const size_t node = nodes_.size(), middle = first + (last - first) / 2;
    nodes_.push_back({0, 0, 0, kLeaf, static_cast<uint32_t>(first)});
    if (last - first == 1) {
        nodes_[node].weight = weights[first];
        return;
    }
    build(weights, first, middle, seed);
    nodes_[node].right = static_cast<uint32_t>(nodes_.size());
    build(weights, middle, last, seed);
    const int64_t left = nodes_[node + 1].weight, both = left + nodes_[nodes_[node].right].weight;
    nodes_[node].left_weight = left;
    nodes_[node].weight = both;
    nodes_[node].phase = both ? static_cast<int64_t>(combine({seed, node}) % static_cast<uint64_t>(both)) : 0;
}

namespace {

// Of the first `draws` that come to a node, those that go left.
inline int64_t gone_left(int64_t draws, int64_t left, int64_t weight, int64_t phase) {
    if (weight == 0) return 0;
    if (draws < (int64_t{1} << 31) && weight < (int64_t{1} << 31))
        return static_cast<int64_t>(
            (static_cast<uint64_t>(draws) * static_cast<uint64_t>(left) + static_cast<uint64_t>(phase)) /
            static_cast<uint64_t>(weight));
    return static_cast<int64_t>((static_cast<__int128>(draws) * left + phase) / weight);
}

}  // namespace

int64_t Interleave::draw_at(int64_t position, Block& block) const {
    const int64_t number = position / kBlock, begin = number * kBlock;
    if (number != block.number) {
        const int64_t size = std::min(kBlock, length_ - begin);
        Numbers numbers(combine({key_, static_cast<uint64_t>(number)}));
        std::iota(block.place, block.place + size, int16_t{0});
        for (int64_t i = size; i > 1; --i)
            std::swap(block.place[i - 1], block.place[numbers.below(static_cast<uint64_t>(i))]);
        block.number = number;
    }
    return first_ + begin + block.place[position - begin];
}

void Interleave::find(int64_t draw, int64_t& part, int64_t& number) const {
    uint32_t at = 0;
    while (nodes_[at].right != kLeaf) {
        const Node& node = nodes_[at];
        const int64_t left = gone_left(draw, node.left_weight, node.weight, node.phase);
        const bool goes_left = gone_left(draw + 1, node.left_weight, node.weight, node.phase) > left;
        draw = goes_left ? left : draw - left;
        at = goes_left ? at + 1 : node.right;
    }
    part = nodes_[at].part;
    number = draw;
}

void Interleave::locate(const int64_t* positions, size_t count, int64_t* part, int64_t* number) const {
    Block block;
    for (size_t i = 0; i < count; ++i) find(draw_at(positions[i], block), part[i], number[i]);
}

void Interleave::counts(int64_t position, int64_t* out) const {
    const int64_t whole = position / kBlock * kBlock;
    std::vector<int64_t> draws(nodes_.size());
    draws[0] = first_ + whole;
    for (size_t at = 0; at < nodes_.size(); ++at) {
        const Node& node = nodes_[at];
        if (node.right == kLeaf) {
            out[node.part] = draws[at];
            continue;
        }
        draws[at + 1] = gone_left(draws[at], node.left_weight, node.weight, node.phase);
        draws[node.right] = draws[at] - draws[at + 1];
    }
    Block block;
    for (int64_t p = whole; p < position; ++p) {
        int64_t part = 0, number = 0;
        find(draw_at(p, block), part, number);
        ++out[part];
    }
}

}  // namespace pyscale
