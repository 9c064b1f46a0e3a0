// Large trees: their upper parts as logic on bits, which says where below each row goes on; from there it
// walks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/forest/codes.h"
#include "kernels/forest/masks.h"
#include "kernels/forest/trees.h"
#include "kernels/forest/walk.h"

namespace pyscale::forest {

class Hybrid {
   public:
    static constexpr size_t kBlock = 512;
    static constexpr uint32_t kMostTrees = 32;  // whose upper parts are evaluated before the first is walked

    static bool can_take(const Coder& coder);

    // `walk` of the same trees; it is needed as long as this.
    Hybrid(const Trees& trees, const Coder& coder, const Layout& layout, const Walk& walk);

    size_t scratch_bytes(size_t rows) const;

    // Adds the values of trees begin to end, in their order, to sums[output][row], whose rows are `stride`
    // apart.
    template <class T>
    void add(const Coder& coder, const Input& input, size_t first_row, size_t rows, size_t begin, size_t end,
             T* sums, size_t stride, char* scratch) const;

   private:
    size_t blocks_scratch(size_t rows) const;

    struct Below {  // steps from the cut to a leaf
        uint32_t sure, most;
    };

    const Walk& walk_;
    std::unique_ptr<Masks> top_;
    std::vector<uint32_t> starts_;  // in the walk, by the numbers of top_
    std::vector<Below> below_;      // of each tree
};

}  // namespace pyscale::forest
