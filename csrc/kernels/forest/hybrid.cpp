#include "kernels/forest/hybrid.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace pyscale::forest {

namespace {

constexpr size_t kMostLeaves = 128;         // of an upper part
constexpr uint32_t kMostPredicates = 2048;  // of a tile

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

Hybrid::Hybrid(const Trees& trees, const Coder& coder, const Layout& layout, const Walk& walk) : walk_(walk) {
    std::vector<bool> cut(trees.nodes);
    for (size_t t = 0; t < trees.count; ++t)
        cut_tree(trees, static_cast<size_t>(trees.first[t]), layout.leaves, cut);
    top_ = std::make_unique<Masks>(trees, coder, cut, kMostPredicates, kMostTrees);

    // Steps from each place to a leaf; children come after their parents.
    std::vector<uint32_t> least(walk.nodes.size()), most(walk.nodes.size());
    for (size_t place = walk.nodes.size(); place-- > 0;) {
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
            const uint32_t place = layout.place[node];
            starts_[tree.table + slot] = place;
            below = {std::min(below.sure, least[place]), std::max(below.most, most[place])};
        }
        below_.push_back(below);
    }
}

namespace {

size_t in_blocks(size_t rows) { return (rows + Hybrid::kBlock - 1) / Hybrid::kBlock * Hybrid::kBlock; }

}  // namespace

size_t Hybrid::scratch_bytes(size_t rows) const {
    return top_->scratch_bytes(8) + (1 + kMostTrees) * in_blocks(rows) + walk_.scratch_bytes(rows) +
           blocks_scratch(rows);
}

// The codes of all blocks are kept: they are needed again for every tile.
size_t Hybrid::blocks_scratch(size_t rows) const { return in_blocks(rows) / kBlock * top_->code_bytes(); }

template <class T>
void Hybrid::add(const Coder& coder, const Input& input, size_t first_row, size_t rows, size_t begin,
                 size_t end, T* sums, size_t stride, char* scratch) const {
    const size_t padded = in_blocks(rows), blocks = padded / kBlock;
    char* const bits = scratch;
    char* const block_codes = bits + top_->scratch_bytes(8);
    auto* const numbers = reinterpret_cast<uint8_t*>(block_codes + blocks_scratch(rows));
    char* const codes = reinterpret_cast<char*>(numbers + kMostTrees * padded);
    for (size_t b = 0; b < blocks; ++b) {
        top_->code(coder, input, first_row + b * kBlock, std::min(kBlock, rows - b * kBlock), 8, bits,
                   block_codes + b * top_->code_bytes());
    }
    walk_.code(coder, input, first_row, rows, codes, true);
    for (const Masks::Tile& tile : top_->tiles) {
        const size_t from = std::max<size_t>(tile.begin, begin), to = std::min<size_t>(tile.end, end);
        if (from >= to) continue;
        for (size_t b = 0; b < blocks; ++b) {
            top_->make_predicates(tile, block_codes + b * top_->code_bytes(), bits);
            for (size_t t = from; t < to; ++t) {
                top_->number(top_->trees[t], bits, numbers + (t - from) * padded + b * kBlock);
            }
        }
        for (size_t t = from; t < to; ++t) {
            walk_.add_from(t, starts_.data() + top_->trees[t].table, numbers + (t - from) * padded,
                           below_[t].sure, below_[t].most, rows, sums, stride, codes);
        }
    }
}

template void Hybrid::add(const Coder&, const Input&, size_t, size_t, size_t, size_t, float*, size_t,
                          char*) const;
template void Hybrid::add(const Coder&, const Input&, size_t, size_t, size_t, size_t, double*, size_t,
                          char*) const;

}  // namespace pyscale::forest
