#include "kernels/forest/forest.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "core/callers.h"
#include "core/mix.h"
#include "core/parallel.h"
#include "core/scratch.h"

namespace pyscale::forest {

namespace {

constexpr size_t kLargeBlock = 512, kSmallBlock = 64;
// Rows that go through a tree together, while it is in the cache; and as much of their codes and sums.
constexpr size_t kMostWalked = 32768;
constexpr size_t kTogetherBytes = 4 << 20;
constexpr double kWorthATeam = 100e3;  // ns of work from which a second thread helps

const Trees& checked(const Trees& trees) {
    check(trees);
    return trees;
}

thread_local Scratch codes_scratch, sums_scratch;

// Whether some have more leaves than logic on bits is quick for.
bool has_large_trees(const Trees& trees) {
    constexpr int64_t kMostNodes = 2 * 64 - 1;
    for (size_t t = 0; t < trees.count; ++t) {
        if (trees.first[t + 1] - trees.first[t] > kMostNodes) return true;
    }
    return false;
}

// A team takes longer to start than a small model to make.
int threads_for(const Trees& trees, int num_threads) {
    constexpr size_t kManyNodes = 1 << 15;
    return trees.nodes < kManyNodes ? 1 : num_threads;
}

size_t round_up(size_t x, size_t to) { return (x + to - 1) / to * to; }

}  // namespace

Forest::Forest(const Trees& trees, int num_threads)
    : features_(checked(trees).features),
      outputs_(trees.outputs),
      count_(trees.count),
      narrow_(trees.narrow),
      narrow_sums_(trees.narrow_sums),
      base_(trees.base, trees.base + trees.outputs),
      base_last_(trees.base_last),
      coder_(trees, threads_for(trees, num_threads)) {
    if (!Walk::can_take(trees, coder_)) {
        throw std::invalid_argument(
            "Forest: expected at most 16,383 features in use, and 65,534 categories of each, got more");
    }
    const auto make_walk = [&] {
        const Layout layout = lay_out(trees);
        walk_ = std::make_unique<Walk>(trees, coder_, layout);
        if (trees.linear_first == nullptr && has_large_trees(trees) && Hybrid::can_take(coder_)) {
            hybrid_ = std::make_unique<Hybrid>(trees, coder_, layout, *walk_);
        }
    };
    const auto make_masks = [&] {
        // Of linear leaves the numbers are needed, not their values alone.
        if (trees.linear_first == nullptr && Masks::can_take(trees, coder_)) {
            masks_ = std::make_unique<Masks>(trees, coder_);
        }
    };
    parallel_for(2, 1, threads_for(trees, num_threads), [&](size_t part, size_t) {
        if (part == 0) {
            make_walk();
        } else {
            make_masks();
        }
    });
    if (trees.linear_first != nullptr) {
        linear_ = std::make_unique<Linear>();
        linear_->constant.assign(trees.linear_constant, trees.linear_constant + trees.leaves);
        linear_->first.assign(trees.linear_first, trees.linear_first + trees.leaves + 1);
        linear_->feature.assign(trees.linear_feature, trees.linear_feature + trees.linear_terms);
        linear_->coefficient.assign(trees.linear_coefficient, trees.linear_coefficient + trees.linear_terms);
    }
}

// In halves of groups; few rows go one by one.
double Forest::walk_cost(size_t rows) const {
    constexpr size_t kHalf = Walk::kLanes / 2;
    return rows <= 4 ? static_cast<double>(rows) * costs_.row
                     : static_cast<double>((rows + kHalf - 1) / kHalf) * costs_.group / 2;
}

// The cheapest for so many rows; where one engine is wanted and cannot take the trees, the walk.
Forest::Piece Forest::next_piece(size_t rows, Engine engine) const {
    const size_t row_bytes =
        walk_->planes.size() * sizeof(uint16_t) + static_cast<size_t>(outputs_) * sizeof(double);
    const size_t together =
        std::clamp<size_t>(kTogetherBytes / row_bytes / kLargeBlock * kLargeBlock, kLargeBlock, kMostWalked);
    const auto blocks = [&](size_t block) { return static_cast<double>((rows + block - 1) / block); };
    struct Choice {
        Piece piece;
        double cost;  // of all rows
    };
    Choice best{{Engine::walk, std::min(rows, together), 0}, walk_cost(rows)};
    bool open = engine != Engine::walk;
    const auto consider = [&](const Piece& piece, double cost) {
        if (engine != Engine::choose && piece.engine != engine) return;
        if (engine == piece.engine && open) {
            best.cost = cost;
            best.piece = piece;
            open = false;
        } else if (cost < best.cost) {
            best = {piece, cost};
        }
    };
    if (masks_ != nullptr) {
        consider({Engine::masks, std::min(rows, kLargeBlock), 8}, blocks(kLargeBlock) * costs_.large_block);
        if (rows < kLargeBlock) {
            consider({Engine::masks, std::min(rows, kSmallBlock), 1},
                     blocks(kSmallBlock) * costs_.small_block);
        }
    }
    if (hybrid_ != nullptr) {
        consider({Engine::hybrid, std::min(rows, together), 8}, blocks(kLargeBlock) * costs_.hybrid);
    }
    return best.piece;
}

void Forest::add_walked(const Input&, size_t, size_t rows, size_t begin, size_t end, float* sums,
                        size_t stride, char* scratch) const {
    walk_->add(rows, begin, end, sums, stride, scratch);
}

void Forest::add_walked(const Input& input, size_t first, size_t rows, size_t begin, size_t end, double* sums,
                        size_t stride, char* scratch) const {
    if (linear_ != nullptr) {
        walk_->add_linear(*linear_, input, first, rows, begin, end, sums, stride, scratch);
    } else {
        walk_->add(rows, begin, end, sums, stride, scratch);
    }
}

template <class T>
void Forest::predict_rows(const Input& input, size_t first, size_t rows, size_t begin, size_t end, T* out,
                          Engine engine) const {
    const auto outputs = static_cast<size_t>(outputs_);
    for (size_t done = 0; done < rows;) {
        const Piece piece = next_piece(rows - done, engine);
        const size_t stride = round_up(piece.rows, piece.words == 8 ? kLargeBlock : kSmallBlock);
        T* const sums = static_cast<T*>(sums_scratch.get(stride * outputs * sizeof(T)));
        for (size_t o = 0; o < outputs; ++o) {
            std::fill_n(sums + o * stride, stride, base_last_ ? T{0} : static_cast<T>(base_[o]));
        }
        if (piece.engine == Engine::masks) {
            auto* const bits = static_cast<char*>(
                codes_scratch.get(masks_->scratch_bytes(piece.words) + masks_->code_bytes()));
            char* const codes = bits + masks_->scratch_bytes(piece.words);
            masks_->code(coder_, input, first + done, piece.rows, piece.words, bits, codes);
            masks_->add(piece.words, begin, end, codes, bits, sums);
        } else if (piece.engine == Engine::hybrid) {
            auto* const scratch = static_cast<char*>(codes_scratch.get(hybrid_->scratch_bytes(piece.rows)));
            hybrid_->add(coder_, input, first + done, piece.rows, begin, end, sums, stride, scratch);
        } else {
            auto* const scratch = static_cast<char*>(codes_scratch.get(walk_->scratch_bytes(piece.rows)));
            walk_->code(coder_, input, first + done, piece.rows, scratch);
            add_walked(input, first + done, piece.rows, begin, end, sums, stride, scratch);
        }
        if (base_last_) {
            for (size_t o = 0; o < outputs; ++o) {
                for (size_t row = 0; row < piece.rows; ++row)
                    sums[o * stride + row] += static_cast<T>(base_[o]);
            }
        }
        T* to = out + (first + done) * outputs;
        if (outputs == 1) {
            std::copy_n(sums, piece.rows, to);
        } else {
            for (size_t row = 0; row < piece.rows; ++row) {
                for (size_t o = 0; o < outputs; ++o) *to++ = sums[o * stride + row];
            }
        }
        done += piece.rows;
    }
}

double Forest::cost(size_t rows) const {
    double group = costs_.group;
    if (masks_ != nullptr) group = std::min(group, costs_.large_block / (kLargeBlock / Walk::kLanes));
    if (hybrid_ != nullptr) group = std::min(group, costs_.hybrid / (kLargeBlock / Walk::kLanes));
    return rows <= 4 ? static_cast<double>(rows) * costs_.row
                     : static_cast<double>((rows + Walk::kLanes - 1) / Walk::kLanes) * group;
}

void Forest::predict(const Input& input, size_t rows, size_t begin, size_t end, const Link& link, void* out,
                     int num_threads, Engine engine) const {
    const auto outputs = static_cast<size_t>(outputs_);
    const auto run_in = [&](auto* to, size_t from, size_t last) {
        predict_rows(input, from, last - from, begin, end, to, engine);
        apply(link, to + from * outputs, last - from, outputs);
    };
    const auto run = [&](size_t from, size_t last) {
        if (narrow_sums_) {
            run_in(static_cast<float*>(out), from, last);
        } else {
            run_in(static_cast<double*>(out), from, last);
        }
    };
    const Caller caller;
    num_threads = caller.share_of(num_threads);
    if (num_threads == 1 || cost(rows) < kWorthATeam) {
        run(0, rows);
        return;
    }
    // Of large trees in large pieces, since each serves many rows while it is in the cache; else in small
    // ones: a thread that has to wait for a core then holds up little.
    const auto threads = static_cast<size_t>(num_threads);
    const size_t share = (rows + threads - 1) / threads;
    const bool small = next_piece(share, engine).engine == Engine::masks;
    parallel_for(rows, std::min(round_up(share, kSmallBlock), small ? kLargeBlock : kMostWalked), num_threads,
                 run);
}

void Forest::leaves(const Input& input, size_t rows, size_t begin, size_t end, int32_t* out,
                    int num_threads) const {
    const Caller caller;
    num_threads = walk_cost(rows) < kWorthATeam ? 1 : caller.share_of(num_threads);
    parallel_for(rows, kLargeBlock, num_threads, [&](size_t from, size_t to) {
        auto* const scratch = static_cast<char*>(codes_scratch.get(walk_->scratch_bytes(to - from)));
        walk_->code(coder_, input, from, to - from, scratch);
        walk_->leaves(to - from, begin, end, out + from * (end - begin), scratch);
    });
}

namespace {

// Rows that reach all parts of the trees: each value is one of its feature's thresholds, or beyond them.
template <class T>
std::vector<T> made_up_rows(const Coder& coder, size_t features, size_t rows) {
    std::vector<T> values(features * rows);
    Numbers numbers(1);
    for (const Column& column : coder.columns()) {
        const size_t count = column.categorical ? column.categories.size() : column.thresholds.size();
        for (size_t row = 0; row < rows; ++row) {
            const size_t pick = numbers.below(count + 1);
            T& value = values[row * features + static_cast<size_t>(column.feature)];
            if (pick == count) {
                value = column.categorical ? T{-1} : std::numeric_limits<T>::infinity();
            } else {
                value =
                    static_cast<T>(column.categorical ? column.categories[pick] : column.thresholds[pick]);
            }
        }
    }
    return values;
}

// Of a few calls, or of one that takes long.
template <class F>
double fastest_ns(int times, F&& f) {
    constexpr double kEnough = 4e6;
    double least = std::numeric_limits<double>::infinity(), sum = 0;
    for (int i = 0; i < times && sum < kEnough; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        f();
        const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - begin;
        least = std::min(least, spent.count());
        sum += spent.count();
    }
    return least;
}

}  // namespace

Forest::Costs Forest::calibrate() const {
    constexpr size_t kMostValues = 1 << 24;
    constexpr int kTimes = 4;
    const auto features = static_cast<size_t>(features_);
    const bool narrow_rows = narrow_;
    const size_t rows = features * kLargeBlock <= kMostValues ? kLargeBlock : 1;
    std::vector<float> narrow;
    std::vector<double> wide;
    Input input{nullptr, 0, 0, !narrow_rows};
    if (narrow_rows) {
        narrow = made_up_rows<float>(coder_, features, rows);
        input = {reinterpret_cast<const char*>(narrow.data()), 0, sizeof(float), false};
    } else {
        wide = made_up_rows<double>(coder_, features, rows);
        input = {reinterpret_cast<const char*>(wide.data()), 0, sizeof(double), true};
    }
    if (rows > 1) input.row_stride = static_cast<int64_t>(features) * input.column_stride;
    std::vector<double> out(kLargeBlock * static_cast<size_t>(outputs_));
    const auto run = [&](size_t first, size_t count, Engine engine) {
        Input from = input;
        from.data += static_cast<int64_t>(first) * input.row_stride;
        predict(from, count, 0, count_, Link{}, out.data(), 1, engine);
    };
    Forest::Costs costs;
    costs.group = fastest_ns(kTimes, [&] { run(0, kLargeBlock, Engine::walk); }) / 32;
    size_t row = 0;
    costs.row = fastest_ns(kTimes * 4, [&] { run(row++, 1, Engine::walk); });
    if (masks_ != nullptr) {
        costs.large_block = fastest_ns(kTimes, [&] { run(0, kLargeBlock, Engine::masks); });
        costs.small_block = fastest_ns(kTimes, [&] { run(0, kSmallBlock, Engine::masks); });
    }
    if (hybrid_ != nullptr) costs.hybrid = fastest_ns(kTimes, [&] { run(0, kLargeBlock, Engine::hybrid); });
    return costs;
}

}  // namespace pyscale::forest
