// Trees and the sums of what their leaves hold, for any number of rows: the same bits whatever the batch, the
// threads and the engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/forest/codes.h"
#include "kernels/forest/hybrid.h"
#include "kernels/forest/link.h"
#include "kernels/forest/masks.h"
#include "kernels/forest/trees.h"
#include "kernels/forest/walk.h"

namespace pyscale::forest {

enum class Engine : uint8_t { choose, masks, hybrid, walk };

class Forest {
   public:
    // Checks the trees, and keeps nothing of their memory. Several threads help to make a large one.
    explicit Forest(const Trees& trees, int num_threads = 1);

    int64_t features() const { return features_; }
    int32_t outputs() const { return outputs_; }
    size_t trees() const { return count_; }
    bool narrow_sums() const { return narrow_sums_; }
    bool has_masks() const { return masks_ != nullptr; }
    bool has_hybrid() const { return hybrid_ != nullptr; }

    // out[row][output], a float where narrow_sums(), else a double: what the link makes of the base and the
    // values of trees begin to end. Safe in any number of threads at once.
    void predict(const Input& input, size_t rows, size_t begin, size_t end, const Link& link, void* out,
                 int num_threads, Engine engine = Engine::choose) const;

    // About how long that takes one thread, in nanoseconds.
    double cost(size_t rows) const;

    Engine engine_for(size_t rows) const { return next_piece(rows, Engine::choose).engine; }

    // out[row][tree - begin]: the leaf that is reached, by its number in its tree.
    void leaves(const Input& input, size_t rows, size_t begin, size_t end, int32_t* out,
                int num_threads) const;

    // What was measured when the model was made: nanoseconds for a block of 512 rows and of 64 by logic on
    // bits, for 512 rows by that and a walk (0 where an engine cannot take the trees), for 16 rows of many
    // walked together, and for one row.
    struct Costs {
        double large_block = 0, small_block = 0, hybrid = 0, group = 0, row = 0;
    };
    const Costs& costs() const { return costs_; }
    void set_costs(const Costs& costs) { costs_ = costs; }
    // Measures them, on made-up rows that reach all parts of the trees.
    Costs calibrate() const;

   private:
    struct Piece {
        Engine engine;
        size_t rows;  // that it takes
        int words;
    };
    Piece next_piece(size_t rows, Engine engine) const;
    double walk_cost(size_t rows) const;
    void add_walked(const Input& input, size_t first, size_t rows, size_t begin, size_t end, float* sums,
                    size_t stride, char* scratch) const;
    void add_walked(const Input& input, size_t first, size_t rows, size_t begin, size_t end, double* sums,
                    size_t stride, char* scratch) const;
    template <class T>
    void predict_rows(const Input& input, size_t first, size_t rows, size_t begin, size_t end, T* out,
                      Engine engine) const;

    int64_t features_;
    int32_t outputs_;
    size_t count_;
    bool narrow_, narrow_sums_;
    std::vector<double> base_;
    bool base_last_;
    Coder coder_;
    std::unique_ptr<Masks> masks_;
    std::unique_ptr<Walk> walk_;
    std::unique_ptr<Hybrid> hybrid_;
    std::unique_ptr<Linear> linear_;
    Costs costs_;
};

}  // namespace pyscale::forest
