#include "kernels/forest/hybrid.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace pyscale::forest {

namespace {

constexpr size_t kMostLeaves = 128;         // of an upper part
constexpr uint32_t kMostPredicates = 1024;  // of a tile: eight blocks' words for them fit half a cache

// How many leaves are below each node.
std::vector<uint32_t> count_leaves(const Trees& trees, const Walk& walk) {
    std::vector<uint32_t> at_place(walk.nodes.size(), 1), counts(walk.nodes.size());
    for (size_t place = walk.nodes.size(); place-- > 0;) {  // children come after their parents
        const uint32_t child = walk.nodes[place].child;
        if (child != place) at_place[place] = at_place[child] + at_place[child + 1];
    }
    for (size_t t = 0; t < trees.count; ++t) {
        const auto first = static_cast<size_t>(trees.first[t]);
        for (size_t place = first; place < static_cast<size_t>(trees.first[t + 1]); ++place) {
            counts[first + static_cast<size_t>(walk.numbers[place])] = at_place[place];
        }
    }
    return counts;
}

// The nodes at which the upper part ends. It grows where most leaves are.
void cut_tree(const Trees& trees, size_t first, const std::vector<uint32_t>& leaves, std::vector<bool>& cut) {
    std::priority_queue<std::pair<uint32_t, size_t>> ends;
    ends.push({leaves[first], first});
    for (size_t count = 1; count < kMostLeaves && ends.top().first > 1; ++count) {
        const size_t node = ends.top().second;
        ends.pop();
        for (const int32_t child : {trees.left[node], trees.right[node]}) {
            const size_t at = first + static_cast<size_t>(child);
            ends.push({leaves[at], at});
        }
    }
    for (; !ends.empty(); ends.pop()) cut[ends.top().second] = true;
}

}  // namespace

bool Hybrid::can_take(const Coder& coder) {
    size_t planes = 0;
    for (const Column& column : coder.columns()) {
        if (column.categorical && column.last_code() > 255) return false;
        planes += column.thresholds.size() / 254 + 1;
    }
    return planes < 1 << 12;  // whose codes are held for many rows
}

Hybrid::Hybrid(const Trees& trees, const Coder& coder, const Walk& walk) : walk_(walk) {
    const std::vector<uint32_t> leaves = count_leaves(trees, walk);
    std::vector<bool> cut(trees.nodes);
    for (size_t t = 0; t < trees.count; ++t)
        cut_tree(trees, static_cast<size_t>(trees.first[t]), leaves, cut);
    top_ = std::make_unique<Masks>(trees, coder, cut, kMostPredicates);

    std::vector<uint32_t> place_of(trees.nodes), least(trees.nodes), most(trees.nodes);
    for (size_t t = 0; t < trees.count; ++t) {
        const auto first = static_cast<size_t>(trees.first[t]);
        for (size_t place = first; place < static_cast<size_t>(trees.first[t + 1]); ++place) {
            place_of[first + static_cast<size_t>(walk.numbers[place])] = static_cast<uint32_t>(place);
        }
    }
    for (size_t place = trees.nodes; place-- > 0;) {
        const uint32_t child = walk.nodes[place].child;
        if (child == place) continue;
        least[place] = 1 + std::min(least[child], least[child + 1]);
        most[place] = 1 + std::max(most[child], most[child + 1]);
    }
    starts_.resize(top_->leaf_nodes.size());
    for (size_t t = 0; t < trees.count; ++t) {
        const Masks::Tree& tree = top_->trees[t];
        Below below{UINT32_MAX, 0};
        for (size_t slot = 0; slot < size_t{1} << tree.bits; ++slot) {
            const uint32_t node = top_->leaf_nodes[tree.table + slot];
            // Slots beyond the last leaf hold 0, which may be another tree's.
            if (node < trees.first[t] || node >= trees.first[t + 1] || !cut[node]) continue;
            const uint32_t place = place_of[node];
            starts_[tree.table + slot] = place;
            below = {std::min(below.sure, least[place]), std::max(below.most, most[place])};
        }
        below_.push_back(below);
    }
}

size_t Hybrid::scratch_bytes(size_t rows) const {
    const size_t blocks = (rows + kBlock - 1) / kBlock;
    return blocks * top_->scratch_bytes(8) + walk_.scratch_bytes(rows);
}

template <class T>
void Hybrid::add(const Coder& coder, const Input& input, size_t first_row, size_t rows, size_t begin,
                 size_t end, T* sums, size_t stride, char* scratch) const {
    const size_t blocks = (rows + kBlock - 1) / kBlock, apart = top_->scratch_bytes(8);
    char* const codes = scratch + blocks * apart;
    const auto in_block = [&](size_t b) { return std::min(kBlock, rows - b * kBlock); };
    for (size_t b = 0; b < blocks; ++b) {
        top_->code(coder, input, first_row + b * kBlock, in_block(b), 8, scratch + b * apart);
    }
    walk_.code(coder, input, first_row, rows, codes);
    for (const Masks::Tile& tile : top_->tiles) {
        if (tile.end <= begin || tile.begin >= end) continue;
        for (size_t b = 0; b < blocks; ++b) top_->make_predicates(tile, scratch + b * apart);
        for (size_t t = std::max<size_t>(tile.begin, begin); t < std::min<size_t>(tile.end, end); ++t) {
            const Masks::Tree& tree = top_->trees[t];
            walk_.prefetch(t + 1, 0, 1);
            const uint32_t* const starts = starts_.data() + tree.table;
            uint32_t* const places = walk_.places(rows, codes);
            for (size_t b = 0; b < blocks; ++b) {
                alignas(64) uint8_t numbers[kBlock];
                top_->number(tree, scratch + b * apart, numbers);
                const size_t count = (in_block(b) + Walk::kLanes - 1) / Walk::kLanes * Walk::kLanes;
                for (size_t i = 0; i < count; ++i) places[b * kBlock + i] = starts[numbers[i]];
            }
            walk_.add_from_places(t, below_[t].sure, below_[t].most, rows, sums, stride, codes);
        }
    }
}

template void Hybrid::add(const Coder&, const Input&, size_t, size_t, size_t, size_t, float*, size_t,
                          char*) const;
template void Hybrid::add(const Coder&, const Input&, size_t, size_t, size_t, size_t, double*, size_t,
                          char*) const;

}  // namespace pyscale::forest
