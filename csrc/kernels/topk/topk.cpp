#include "kernels/topk/topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/dense/multiply.h"
#include "kernels/topk/best.h"

namespace pyscale::topk {

namespace {

using dense::kPanel;

constexpr size_t kMostTogether = 112;     // queries of a tile: they stay in the level-2 cache
constexpr size_t kTileBytes = 512 << 10;  // that they should fit
constexpr size_t kProducts = 8192;        // of a tile and some panels, that should stay in a near cache
constexpr size_t kFewestPanels = 4, kMostPanels = 16;
constexpr size_t kKeyBytes = 16 << 20;  // of a tile's best rows
constexpr double kWorthATeam = 4e6;     // multiplications from which a second thread helps
constexpr size_t kMostRows = 0xfffffffe;
constexpr size_t kFewestInSegment = 64;  // panels that are worth a thread's start

size_t round_up(size_t x, size_t to) { return (x + to - 1) / to * to; }
size_t divide_up(size_t x, size_t by) { return (x + by - 1) / by; }

// Floats from query to query: not a multiple of what maps to the same lines of a cache.
size_t stride_for(size_t width) {
    const size_t stride = round_up(std::max<size_t>(width, 1), 16);
    return stride % 256 == 0 ? stride + 16 : stride;
}

// A row of zeros stays one.
void divide_by_length(const float* row, size_t width, float* out) {
    double sum = 0;
    for (size_t c = 0; c < width; ++c) sum += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    const double length = sum > 0 ? std::sqrt(sum) : 1;
    for (size_t c = 0; c < width; ++c) out[c] = static_cast<float>(static_cast<double>(row[c]) / length);
}

thread_local Scratch scratch, merging;

}  // namespace

struct TopK::Call {
    const float* queries;
    size_t k;
    const int64_t* ids;
    float* scores;
    int64_t* indices;
};

TopK::TopK(const float* rows, size_t count, size_t width, Metric metric, bool unit) : metric_(metric) {
    if (count == 0 || width == 0 || count > kMostRows) {
        throw_expected("matrix", "1 to " + std::to_string(kMostRows) + " rows of 1 column or more",
                       std::to_string(count) + " x " + std::to_string(width));
    }
    for (size_t i = 0; i < count * width; ++i) {
        if (!std::isfinite(rows[i])) {
            throw_expected("matrix", "finite numbers",
                           std::to_string(rows[i]) + " in row " + std::to_string(i / width));
        }
    }
    if (metric == Metric::cosine && !unit) {
        std::vector<float> divided(count * width);
        for (size_t row = 0; row < count; ++row) {
            divide_by_length(rows + row * width, width, divided.data() + row * width);
        }
        packed_ = std::make_unique<dense::Packed>(divided.data(), width, count, dense::WeightType::float32);
        return;
    }
    packed_ = std::make_unique<dense::Packed>(rows, width, count, dense::WeightType::float32);
}

void TopK::copy_rows(float* out) const {
    const auto* const from = static_cast<const float*>(packed_->data());
    for (size_t row = 0; row < count(); ++row) {
        const size_t panel = row / kPanel;
        const size_t step = panel < packed_->whole_panels() ? kPanel : kPanel / 2;
        const float* const first = from + panel * kPanel * width() + row % kPanel;
        for (size_t c = 0; c < width(); ++c) out[row * width() + c] = first[c * step];
    }
}

void TopK::answer(const Call& call, size_t query, const uint64_t* keys) const {
    float* const scores = call.scores + query * call.k;
    int64_t* const indices = call.indices + query * call.k;
    for (size_t i = 0; i < call.k; ++i) {
        const float value = value_of(keys[i]);
        scores[i] = metric_ == Metric::l2 && value == value ? 0.0f - value : value;
        const uint32_t row = row_of(keys[i]);
        indices[i] = call.ids != nullptr ? call.ids[row] : static_cast<int64_t>(row);
    }
}

// Of these queries and panels. The best go to keys[query of all][k], with zeros after them, or to the answer
// where that is null.
void TopK::search_tile(const Call& call, size_t first, size_t number, size_t first_panel, size_t panels,
                       uint64_t* keys) const {
    const size_t ldx = stride_for(width()), room = Best::room(call.k);
    const size_t together = std::clamp(kProducts / (number * kPanel), kFewestPanels, kMostPanels);
    const size_t ldy = together * kPanel + 16;
    const size_t floats = number * (ldx + ldy) + together * kPanel;
    const size_t key_bytes = round_up(number * room * sizeof(uint64_t), 64);
    auto* const rooms =
        static_cast<uint64_t*>(scratch.get(key_bytes + floats * sizeof(float) + number * sizeof(Best)));
    float* const x = reinterpret_cast<float*>(reinterpret_cast<char*>(rooms) + key_bytes);
    float* const y = x + number * ldx;
    float* const zeros = y + number * ldy;
    auto* const bests = reinterpret_cast<Best*>(zeros + together * kPanel);
    std::fill(zeros, zeros + together * kPanel, 0.0f);
    for (size_t q = 0; q < number; ++q) {
        const float* const query = call.queries + (first + q) * width();
        if (metric_ == Metric::cosine) {
            divide_by_length(query, width(), x + q * ldx);
        } else {
            std::copy(query, query + width(), x + q * ldx);
        }
        new (bests + q) Best(rooms + q * room, call.k);
    }
    const auto add = metric_ == Metric::l2 ? add_distances : add_products;
    for (size_t panel = first_panel; panel < first_panel + panels; panel += together) {
        const size_t some = std::min(together, first_panel + panels - panel);
        const size_t row = panel * kPanel, rows = std::min(some * kPanel, count() - row);
        if (metric_ == Metric::l2) {
            dense::add_squares(*packed_, panel, some, zeros, x, ldx, number, y, ldy);
        } else {
            dense::multiply(*packed_, panel, some, zeros, x, ldx, number, dense::Activation::identity, 0, y,
                            ldy);
        }
        for (size_t q = 0; q < number; ++q) add(y + q * ldy, rows, row, bests[q]);
    }
    for (size_t q = 0; q < number; ++q) {
        const size_t found = bests[q].finish();
        if (keys == nullptr) {
            answer(call, first + q, bests[q].keys);
        } else {
            uint64_t* const to = keys + (first + q) * call.k;
            std::fill(std::copy(bests[q].keys, bests[q].keys + found, to), to + call.k, uint64_t{0});
        }
    }
}

void TopK::search(const float* queries, size_t number, size_t k, const int64_t* ids, float* scores,
                  int64_t* indices, int num_threads) const {
    if (number == 0) return;
    const Call call{queries, k, ids, scores, indices};
    const size_t panels = packed_->panels();
    if (static_cast<double>(number) * static_cast<double>(count() * width()) < kWorthATeam) num_threads = 1;
    const size_t most = std::max<size_t>(1, std::min(kTileBytes / (stride_for(width()) * sizeof(float)),
                                                     kKeyBytes / (Best::room(k) * sizeof(uint64_t))));
    const size_t tiles = divide_up(number, std::min(most, kMostTogether));
    const size_t tile = divide_up(number, tiles);
    // Few queries share the rows among the threads, so that each reads a part of the matrix.
    size_t segments = divide_up(std::min(static_cast<size_t>(num_threads), most_threads()), tiles);
    segments = std::max<size_t>(1, std::min(segments, panels / kFewestInSegment));
    if (segments == 1) {
        parallel_for(number, tile, num_threads, [&](size_t begin, size_t end) {
            search_tile(call, begin, end - begin, 0, panels, nullptr);
        });
        return;
    }
    const size_t segment = divide_up(panels, segments);
    segments = divide_up(panels, segment);
    auto* const keys =
        static_cast<uint64_t*>(merging.get((segments * number + segments) * k * sizeof(uint64_t)));
    parallel_for(tiles * segments, 1, num_threads, [&](size_t unit, size_t) {
        const size_t begin = unit / segments * tile, part = unit % segments;
        if (begin >= number) return;
        search_tile(call, begin, std::min(tile, number - begin), part * segment,
                    std::min(segment, panels - part * segment), keys + part * number * k);
    });
    uint64_t* const all = keys + segments * number * k;
    for (size_t query = 0; query < number; ++query) {
        for (size_t part = 0; part < segments; ++part) {
            std::copy_n(keys + (part * number + query) * k, k, all + part * k);
        }
        std::nth_element(all, all + (k - 1), all + segments * k, std::greater<>());
        std::sort(all, all + k, std::greater<>());
        answer(call, query, all);
    }
}

}  // namespace pyscale::topk
