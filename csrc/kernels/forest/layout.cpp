#include "kernels/forest/layout.h"

#include <algorithm>

namespace pyscale::forest {

namespace {

class Tree {
   public:
    Tree(const Trees& trees, size_t tree, Layout& layout)
        : trees_(trees), first_(static_cast<size_t>(trees.first[tree])), layout_(layout) {}

    void count_leaves() {
        std::vector<size_t> order{first_};
        for (size_t i = 0; i < order.size(); ++i) {  // parents before children
            if (trees_.is_leaf(order[i])) continue;
            order.push_back(child(trees_.left, order[i]));
            order.push_back(child(trees_.right, order[i]));
        }
        for (size_t i = order.size(); i-- > 0;) {
            const size_t node = order[i];
            layout_.leaves[node] = trees_.is_leaf(node) ? 1
                                                        : layout_.leaves[child(trees_.left, node)] +
                                                              layout_.leaves[child(trees_.right, node)];
        }
    }

    // Gives places from `next` on, and returns the one after the last.
    uint32_t place(uint32_t next) {
        layout_.place[first_] = next;
        next += 2;  // pairs do not cross lines
        std::vector<size_t> parents{first_}, near;
        while (!parents.empty()) {
            const size_t parent = parents.back();
            parents.pop_back();
            if (trees_.is_leaf(parent)) continue;
            const uint32_t pairs = std::min(layout_.leaves[parent] - 1, Layout::kLine / 2);
            uint32_t room = (Layout::kLine - next % Layout::kLine) / 2;
            if (room < pairs) {
                next = (next + Layout::kLine - 1) / Layout::kLine * Layout::kLine;
                room = Layout::kLine / 2;
            }
            near.assign(1, parent);
            for (; room > 0 && !near.empty(); --room) {
                const auto heaviest = std::max_element(near.begin(), near.end(), [&](size_t a, size_t b) {
                    return layout_.leaves[a] < layout_.leaves[b];
                });
                const size_t node = *heaviest;
                near.erase(heaviest);
                for (const int32_t* side : {trees_.left, trees_.right}) {
                    const size_t at = child(side, node);
                    layout_.place[at] = next++;
                    if (!trees_.is_leaf(at)) near.push_back(at);
                }
            }
            parents.insert(parents.end(), near.begin(), near.end());
        }
        return next;
    }

   private:
    size_t child(const int32_t* side, size_t node) const { return first_ + static_cast<size_t>(side[node]); }

    const Trees& trees_;
    size_t first_;
    Layout& layout_;
};

}  // namespace

Layout lay_out(const Trees& trees) {
    Layout layout{std::vector<uint32_t>(trees.nodes), {}, std::vector<uint32_t>(trees.nodes)};
    uint32_t next = 0;
    for (size_t t = 0; t < trees.count; ++t) {
        layout.roots.push_back(next);
        Tree tree(trees, t, layout);
        tree.count_leaves();
        next = (tree.place(next) + Layout::kLine - 1) / Layout::kLine * Layout::kLine;
    }
    layout.roots.push_back(next);
    return layout;
}

}  // namespace pyscale::forest
