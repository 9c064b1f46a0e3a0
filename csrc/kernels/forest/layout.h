// Where the nodes of trees lie in memory, so that a walk touches few cache lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/forest/trees.h"

namespace pyscale::forest {

struct Layout {
    static constexpr uint32_t kLine = 8;  // nodes of a cache line

    std::vector<uint32_t> place;   // of each node, in the model's order
    std::vector<uint32_t> roots;   // of the trees, ascending, and the number of places last
    std::vector<uint32_t> leaves;  // below each node

    size_t places() const { return roots.back(); }
};

// Siblings lie side by side and after their parents; a line has the children of a node and, as far as there
// is room, those of the nodes below it to which most leaves belong. Some places stay empty.
Layout lay_out(const Trees& trees);

}  // namespace pyscale::forest
