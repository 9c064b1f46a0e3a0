#include "kernels/forest/walk.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace pyscale::forest {

namespace {

constexpr uint32_t kGroup = 65534;  // thresholds of a plane
constexpr uint16_t kSet = Walk::kSet;
constexpr size_t kLanes = Walk::kLanes;
// So few rows go one by one, through several trees at once.
constexpr size_t kFewRows = 4;
constexpr size_t kChunk = 512;  // rows whose codes and places stay in the first-level cache

uint16_t short_code(uint32_t code, const Walk::Plane& plane) {
    const uint32_t within = code <= plane.first ? 1 : std::min(code - plane.first, kGroup + 1);
    return static_cast<uint16_t>((code == 0 ? 0 : within) - (plane.missing_left ? 0 : 1));
}

}  // namespace

bool Walk::can_take(const Trees&, const Coder& coder) {
    size_t planes = 0;
    for (const Column& column : coder.columns()) {
        if (column.categorical && column.last_code() > 65535) return false;
        planes += column.categorical ? 1 : 2 * (column.thresholds.size() / kGroup + 1);
    }
    return planes < kSet;
}

Walk::Walk(const Trees& from, const Coder& coder, const Layout& layout)
    : nodes(layout.places()),
      beside(layout.places()),
      numbers(layout.places(), -1),
      width(from.width),
      roots_(layout.roots) {
    std::unordered_map<uint64_t, uint16_t> plane_numbers;
    std::map<std::pair<uint32_t, bool>, uint32_t> set_places;
    const auto plane_of = [&](uint32_t column, uint32_t first, bool missing_left) {
        const uint64_t key = uint64_t{column} << 32 | first << 1 | (missing_left ? 1 : 0);
        const auto [found, added] = plane_numbers.try_emplace(key, static_cast<uint16_t>(planes.size()));
        if (added) planes.push_back({column, first, missing_left});
        return found->second;
    };
    for (uint32_t place = 0; place < nodes.size(); ++place) nodes[place] = {UINT16_MAX, 0, place};
    std::vector<std::pair<int32_t, uint32_t>> waiting;  // nodes by their numbers, and their depths
    for (size_t t = 0; t < from.count; ++t) {
        const auto first = static_cast<size_t>(from.first[t]);
        const auto place_of = [&](int32_t number) {
            return layout.place[first + static_cast<size_t>(number)];
        };
        Tree tree{layout.roots[t], 0, UINT32_MAX, from.output[t], 0};
        waiting.assign(1, {0, 0});
        while (!waiting.empty()) {
            const auto [number, depth] = waiting.back();
            waiting.pop_back();
            const size_t at = first + static_cast<size_t>(number);
            const uint32_t place = place_of(number);
            numbers[place] = number;
            if (from.is_leaf(at)) {
                beside[place] = static_cast<uint32_t>(from.left[at]);
                tree.depth = std::max(tree.depth, depth);
                tree.least_depth = std::min(tree.least_depth, depth);
                continue;
            }
            // The right one is beside the left one.
            const uint32_t child = place_of(from.left[at]);
            const Test& test = coder.tests()[at];
            if (test.set) {
                general = true;
                nodes[place] = {0, static_cast<uint16_t>(plane_of(test.column, 0, true) | kSet), child};
                const auto [found, added] = set_places.try_emplace({test.bound, test.missing_left},
                                                                   static_cast<uint32_t>(set_words.size()));
                if (added) {
                    const std::vector<uint32_t>& words = coder.sets()[test.bound].words;
                    set_words.insert(set_words.end(), words.begin(), words.end());
                    if (test.missing_left) set_words[found->second] |= 1;
                }
                beside[place] = found->second;
            } else {
                const uint32_t group = test.bound / kGroup * kGroup;
                nodes[place] = {static_cast<uint16_t>(test.bound - group + (test.missing_left ? 1 : 0)),
                                plane_of(test.column, group, test.missing_left), child};
            }
            waiting.push_back({from.left[at], depth + 1});
            waiting.push_back({from.right[at], depth + 1});
        }
        trees.push_back(tree);
    }
    sort_planes();
    point_nodes_at_codes();
    keep_values(from);
}

// In the order of the places, so that those of a tree lie together.
void Walk::keep_values(const Trees& from) {
    const auto w = static_cast<size_t>(width);
    const size_t leaves = (from.nodes + from.count) / 2;  // of binary trees
    if (from.narrow_sums) narrow_values.reserve(leaves * w);
    if (!from.narrow_sums) wide_values.reserve(leaves * w);
    if (width == 1 && from.narrow_sums) narrow_beside.resize(nodes.size());
    if (width == 1 && !from.narrow_sums) wide_beside.resize(nodes.size());
    uint32_t row = 0;
    for (size_t t = 0; t < trees.size(); ++t) {
        trees[t].first_value = row;
        for (size_t place = roots_[t]; place < roots_[t + 1]; ++place) {
            if (nodes[place].child != place || numbers[place] < 0) continue;
            const double* const values = from.values + beside[place] * w;
            model_rows.push_back(beside[place]);
            beside[place] = row++;
            if (from.narrow_sums) {
                for (size_t o = 0; o < w; ++o) narrow_values.push_back(static_cast<float>(values[o]));
                if (width == 1) narrow_beside[place] = static_cast<float>(values[0]);
            } else {
                wide_values.insert(wide_values.end(), values, values + w);
                if (width == 1) wide_beside[place] = values[0];
            }
        }
    }
    constexpr size_t kCache = 1 << 19;
    large_ = nodes.size() * (sizeof(Node) + sizeof(double)) + leaves * w * sizeof(double) > kCache;
}

namespace {

// Part p of q of the lines from one element to another.
template <class V>
void prefetch_part(const V& all, size_t begin, size_t end, size_t p, size_t q) {
    if (all.empty()) return;
    const auto* const from = reinterpret_cast<const char*>(all.data() + begin);
    const size_t bytes = (end - begin) * sizeof(all[0]), share = (bytes / q + 64) / 64 * 64;
    for (size_t at = p * share; at < std::min(bytes, (p + 1) * share); at += 64) {
        __builtin_prefetch(from + at, 0, 2);
    }
}

}  // namespace

void Walk::prefetch(size_t tree, size_t p, size_t q) const {
    if (!large_ || tree >= trees.size()) return;
    const bool last = tree + 1 == trees.size();
    const size_t begin = roots_[tree], end = roots_[tree + 1];
    prefetch_part(nodes, begin, end, p, q);
    if (width == 1) {
        prefetch_part(narrow_beside, begin, end, p, q);
        prefetch_part(wide_beside, begin, end, p, q);
        return;
    }
    prefetch_part(beside, begin, end, p, q);
    const auto w = static_cast<size_t>(width);
    const size_t first = trees[tree].first_value * w;
    const auto stop = [&](size_t all) { return last ? all : trees[tree + 1].first_value * w; };
    prefetch_part(narrow_values, first, stop(narrow_values.size()), p, q);
    prefetch_part(wide_values, first, stop(wide_values.size()), p, q);
}

// By their columns, so that each is coded once; leaves look at the first one, which there must be.
void Walk::sort_planes() {
    std::vector<uint16_t> order(planes.size()), places(planes.size());
    std::iota(order.begin(), order.end(), uint16_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](uint16_t a, uint16_t b) { return planes[a].column < planes[b].column; });
    std::vector<Plane> sorted;
    for (const uint16_t plane : order) {
        places[plane] = static_cast<uint16_t>(sorted.size());
        sorted.push_back(planes[plane]);
    }
    for (size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i].child == i) continue;
        nodes[i].code = static_cast<uint16_t>(places[nodes[i].code & ~kSet] | (nodes[i].code & kSet));
    }
    planes = sorted;
    if (planes.empty()) planes.push_back({0, 0, true});
}

void Walk::point_nodes_at_codes() {
    general = general || planes.size() * kLanes > UINT16_MAX;
    if (general) return;
    for (Node& node : nodes) node.code = static_cast<uint16_t>(node.code * kLanes);
}

size_t Walk::scratch_bytes(size_t rows) const {
    return (rows + kLanes - 1) / kLanes * kLanes * planes.size() * sizeof(uint16_t);
}

void Walk::code(const Coder& coder, const Input& input, size_t first_row, size_t rows, char* scratch,
                bool whole_groups) const {
    auto* const out = reinterpret_cast<uint16_t*>(scratch);
    if (coder.columns().empty()) {
        std::fill_n(out, (rows + kLanes - 1) / kLanes * kLanes, 0);
        return;
    }
    const size_t lanes = rows <= kFewRows && !whole_groups ? rows : kLanes;
    for (size_t piece = 0; piece < rows; piece += Coder::kRows) {
        const size_t count = std::min(Coder::kRows, rows - piece);
        uint32_t codes[Coder::kRows];
        for (size_t p = 0; p < planes.size(); ++p) {
            const Plane& plane = planes[p];
            if (p == 0 || plane.column != planes[p - 1].column) {
                coder.code(coder.columns()[plane.column], input, first_row + piece, count, codes);
                // Lanes without a row walk as well, and must not look for a code where there is none.
                if (count < lanes) std::fill(codes + count, codes + lanes, 0);
            }
            for (size_t begin = 0; begin < count; begin += kLanes) {
                uint16_t* const to = out + (piece + begin) * planes.size() + p * kLanes;
                for (size_t i = 0; i < lanes; ++i) to[i] = short_code(codes[begin + i], plane);
            }
        }
    }
}

namespace {

template <bool general>
struct Step {
    const Walk& walk;
    const Walk::Node* nodes;

    // Where a row whose codes begin at `codes` goes from a node.
    inline __attribute__((always_inline)) uint32_t next(uint32_t at, const uint16_t* codes) const {
        const Walk::Node& node = nodes[at];
        const uint32_t child = node.child;
        const uint16_t bound = node.bound;
        if constexpr (general) {
            const uint16_t code = codes[(node.code & ~kSet) * kLanes];
            if (node.code & kSet) {
                return child + 1 - (walk.set_words[walk.beside[at] + code / 32] >> code % 32 & 1);
            }
            return child + (bound < code);
        } else {
            const uint16_t code = codes[node.code];
            return child + (bound < code);  // a compare and an add with carry
        }
    }

    // Takes walkers from their places down: `sure` steps, then until all have arrived, `most` at most.
    // Walker i's codes begin at codes + offset + i * apart.
    template <size_t walkers, size_t apart, size_t offset = 0>
    inline __attribute__((always_inline)) void walk_down(uint32_t (&at)[walkers], const uint16_t* codes,
                                                         uint32_t sure, uint32_t most) const {
        constexpr uint32_t kBetweenLooks = 3;
        for (uint32_t depth = 0;;) {
            for (; depth < sure; ++depth) {
#pragma GCC unroll 16
                for (size_t i = 0; i < walkers; ++i) at[i] = next(at[i], codes + (offset + i * apart));
            }
            if (depth >= most) return;
            bool arrived = true;
#pragma GCC unroll 16
            for (size_t i = 0; i < walkers; ++i) arrived &= nodes[at[i]].child == at[i];
            if (arrived) return;
            sure = depth + kBetweenLooks;  // a leaf may be left as often as one likes
        }
    }
};

constexpr size_t kSide = 8;  // trees side by side

// Takes one row through trees begin to end, eight at once.
template <bool general, class F>
void walk_trees(const Walk& walk, size_t begin, size_t end, const uint16_t* codes, const F& reached) {
    const Step<general> step{walk, walk.nodes.data()};
    size_t t = begin;
    for (; t + kSide <= end; t += kSide) {
        uint32_t at[kSide];
        uint32_t most = 0, sure = UINT32_MAX;
        for (size_t i = 0; i < kSide; ++i) {
            at[i] = walk.trees[t + i].root;
            most = std::max(most, walk.trees[t + i].depth);
            sure = std::min(sure, walk.trees[t + i].least_depth);
        }
        step.template walk_down<kSide, 0>(at, codes, sure, most);
        for (size_t i = 0; i < kSide; ++i) reached(t + i, at[i]);
    }
    for (; t < end; ++t) {
        uint32_t at[1] = {walk.trees[t].root};
        step.template walk_down<1, 0>(at, codes, walk.trees[t].least_depth, walk.trees[t].depth);
        reached(t, at[0]);
    }
}

// Takes the first so many rows of a group down.
template <bool general, size_t rows>
void walk_group(const Walk& walk, const uint16_t* codes, uint32_t sure, uint32_t most, uint32_t* places) {
    const Step<general> step{walk, walk.nodes.data()};
    uint32_t at[rows];
    std::copy_n(places, rows, at);
    step.template walk_down<rows, 1>(at, codes, sure, most);
    std::copy_n(at, rows, places);
}

const float* values_of(const Walk& walk, float) { return walk.narrow_values.data(); }
const double* values_of(const Walk& walk, double) { return walk.wide_values.data(); }
const float* beside_of(const Walk& walk, float) { return walk.narrow_beside.data(); }
const double* beside_of(const Walk& walk, double) { return walk.wide_beside.data(); }

}  // namespace

// Takes rows from their places to leaves; of the last group, half or all.
void Walk::reach_leaves(size_t rows, uint32_t sure, uint32_t most, const uint16_t* codes,
                        uint32_t* places) const {
    for (size_t row = 0; row < rows; row += kLanes, codes += kLanes * planes.size()) {
        if (general) {
            walk_group<true, kLanes>(*this, codes, sure, most, places + row);
        } else if (rows - row <= kLanes / 2) {
            walk_group<false, kLanes / 2>(*this, codes, sure, most, places + row);
        } else {
            walk_group<false, kLanes>(*this, codes, sure, most, places + row);
        }
    }
}

// Calls reached(tree, row, place) for each; of one row, in the order of the trees.
template <class F>
void Walk::walk_all(size_t rows, size_t begin, size_t end, const char* scratch, const F& reached) const {
    const auto* codes = reinterpret_cast<const uint16_t*>(scratch);
    if (rows <= kFewRows) {
        for (size_t row = 0; row < rows; ++row) {
            const auto of_row = [&](size_t tree, uint32_t place) { reached(tree, row, place); };
            if (general) {
                walk_trees<true>(*this, begin, end, codes + row, of_row);
            } else {
                walk_trees<false>(*this, begin, end, codes + row, of_row);
            }
        }
        return;
    }
    for (size_t t = begin; t < end; ++t) {  // a tree stays in the cache for all rows
        for (size_t row = 0; row < rows; row += kChunk) {
            const size_t count = std::min(kChunk, rows - row);
            uint32_t at[kChunk];
            std::fill_n(at, (count + kLanes - 1) / kLanes * kLanes, trees[t].root);
            prefetch(t + 1, row / kChunk, (rows + kChunk - 1) / kChunk);
            reach_leaves(count, trees[t].least_depth, trees[t].depth, codes + row * planes.size(), at);
            for (size_t i = 0; i < count; ++i) reached(t, row + i, at[i]);
        }
    }
}

template <class T>
void Walk::add(size_t rows, size_t begin, size_t end, T* sums, size_t stride, const char* scratch) const {
    if (rows > kFewRows) {
        for (size_t t = begin; t < end; ++t) {
            add_from(t, &trees[t].root, nullptr, trees[t].least_depth, trees[t].depth, rows, sums, stride,
                     scratch);
        }
        return;
    }
    const auto w = static_cast<size_t>(width);
    const T* const values = values_of(*this, T{});
    walk_all(rows, begin, end, scratch, [&](size_t tree, size_t row, uint32_t place) {
        T* const to = sums + static_cast<size_t>(trees[tree].output) * stride + row;
        const T* const from = values + beside[place] * w;
        for (size_t o = 0; o < w; ++o) to[o * stride] += from[o];
    });
}

template void Walk::add(size_t, size_t, size_t, float*, size_t, const char*) const;
template void Walk::add(size_t, size_t, size_t, double*, size_t, const char*) const;

template <class T>
void Walk::add_leaves(const uint32_t* places, size_t rows, T* sums, size_t stride) const {
    const T* const values = values_of(*this, T{});
    if (width == 1) {
        const T* const value = beside_of(*this, T{});
        for (size_t row = 0; row < rows; ++row) sums[row] += value[places[row]];
    } else if (width == 2) {
        for (size_t row = 0; row < rows; ++row) {
            const T* const from = values + size_t{2} * beside[places[row]];
            sums[row] += from[0];
            sums[stride + row] += from[1];
        }
    } else {
        const auto w = static_cast<size_t>(width);
        for (size_t row = 0; row < rows; ++row) {
            const T* const from = values + beside[places[row]] * w;
            for (size_t o = 0; o < w; ++o) sums[o * stride + row] += from[o];
        }
    }
}

template <class T>
void Walk::add_from(size_t tree, const uint32_t* starts, const uint8_t* numbers, uint32_t sure, uint32_t most,
                    size_t rows, T* sums, size_t stride, const char* scratch) const {
    const auto* const codes = reinterpret_cast<const uint16_t*>(scratch);
    T* const into = sums + static_cast<size_t>(trees[tree].output) * stride;
    for (size_t row = 0; row < rows; row += kChunk) {
        const size_t count = std::min(kChunk, rows - row);
        const size_t padded = (count + kLanes - 1) / kLanes * kLanes;
        uint32_t at[kChunk];
        for (size_t i = 0; i < padded; ++i) at[i] = starts[numbers == nullptr ? 0 : numbers[row + i]];
        prefetch(tree + 1, row / kChunk, (rows + kChunk - 1) / kChunk);
        reach_leaves(count, sure, most, codes + row * planes.size(), at);
        add_leaves(at, count, into + row, stride);
    }
}

template void Walk::add_from(size_t, const uint32_t*, const uint8_t*, uint32_t, uint32_t, size_t, float*,
                             size_t, const char*) const;
template void Walk::add_from(size_t, const uint32_t*, const uint8_t*, uint32_t, uint32_t, size_t, double*,
                             size_t, const char*) const;

void Walk::add_linear(const Linear& linear, const Input& input, size_t first_row, size_t rows, size_t begin,
                      size_t end, double* sums, size_t stride, const char* scratch) const {
    const char* const from = input.data + static_cast<int64_t>(first_row) * input.row_stride;
    walk_all(rows, begin, end, scratch, [&](size_t tree, size_t row, uint32_t place) {
        sums[static_cast<size_t>(trees[tree].output) * stride + row] +=
            linear(model_rows[beside[place]], wide_beside[place],
                   from + static_cast<int64_t>(row) * input.row_stride, input.column_stride, input.wide);
    });
}

double Linear::operator()(size_t leaf, double value, const char* row, int64_t column_stride,
                          bool wide) const {
    constexpr double kTiny = 1e-35f;
    double sum = constant[leaf];
    for (int64_t term = first[leaf]; term < first[leaf + 1]; ++term) {
        const char* const at = row + feature[static_cast<size_t>(term)] * column_stride;
        double x;
        if (wide) {
            std::memcpy(&x, at, sizeof x);
        } else {
            float narrow;
            std::memcpy(&narrow, at, sizeof narrow);
            x = static_cast<double>(narrow);
        }
        if (x != x) return value;
        if (x >= -kTiny && x <= kTiny) x = 0;
        sum += coefficient[static_cast<size_t>(term)] * x;
    }
    return sum;
}

void Walk::leaves(size_t rows, size_t begin, size_t end, int32_t* out, const char* scratch) const {
    walk_all(rows, begin, end, scratch, [&](size_t tree, size_t row, uint32_t place) {
        out[row * (end - begin) + tree - begin] = numbers[place];
    });
}

}  // namespace pyscale::forest
