// The best rows at every ISA level beside plain loops with std::fma and a full sort; any batch and split.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "core/half.h"
#include "core/isa.h"
#include "kernels/topk/best.h"
#include "kernels/topk/topk.h"

using namespace pyscale;
using topk::Metric;
using topk::TopK;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Answer {
    std::vector<float> scores;
    std::vector<int64_t> indices;

    bool operator==(const Answer& other) const {
        return indices == other.indices && scores.size() == other.scores.size() &&
               std::memcmp(scores.data(), other.scores.data(), scores.size() * sizeof(float)) == 0;
    }
};

// Small whole numbers have many ties.
std::vector<float> random_floats(size_t count, uint64_t seed, bool whole) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> out(count);
    for (float& x : out) x = whole ? static_cast<float>(static_cast<int>(random() % 3) - 1) : normal(random);
    return out;
}

float product(const float* a, const float* b, size_t width) {
    float sum = 0;
    for (size_t c = 0; c < width; ++c) sum = std::fma(a[c], b[c], sum);
    return sum;
}

float distance(const float* a, const float* b, size_t width) {
    float sum = 0;
    for (size_t c = 0; c < width; ++c) sum = std::fma(a[c] - b[c], a[c] - b[c], sum);
    return sum;
}

void divide(float* row, size_t width) {
    double sum = 0;
    for (size_t c = 0; c < width; ++c) sum += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    for (size_t c = 0; c < width && sum > 0; ++c) row[c] = static_cast<float>(row[c] / std::sqrt(sum));
}

Answer reference(std::vector<float> rows, std::vector<float> queries, size_t width, Metric metric, size_t k) {
    const size_t count = rows.size() / width, number = queries.size() / width;
    if (metric == Metric::cosine) {
        for (size_t row = 0; row < count; ++row) divide(rows.data() + row * width, width);
        for (size_t q = 0; q < number; ++q) divide(queries.data() + q * width, width);
    }
    Answer out;
    for (size_t q = 0; q < number; ++q) {
        const float* const query = queries.data() + q * width;
        std::vector<float> scores(count);
        for (size_t row = 0; row < count; ++row) {
            const float* const r = rows.data() + row * width;
            scores[row] = metric == Metric::l2 ? distance(query, r, width) : product(query, r, width);
            scores[row] += 0.0f;
            if (scores[row] != scores[row]) scores[row] = kNan;
        }
        std::vector<int64_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            const float x = scores[static_cast<size_t>(a)], y = scores[static_cast<size_t>(b)];
            if (x != x || y != y) return x == x && y != y;
            return metric == Metric::l2 ? x < y : x > y;
        });
        for (size_t i = 0; i < k; ++i) {
            out.indices.push_back(order[i]);
            out.scores.push_back(scores[static_cast<size_t>(order[i])]);
        }
    }
    return out;
}

Answer search(const TopK& model, const std::vector<float>& queries, size_t k, size_t batch, int threads) {
    const size_t number = queries.size() / model.width();
    Answer out{std::vector<float>(number * k), std::vector<int64_t>(number * k)};
    for (size_t q = 0; q < number; q += batch) {
        model.search(queries.data() + q * model.width(), std::min(batch, number - q), k, nullptr,
                     out.scores.data() + q * k, out.indices.data() + q * k, threads);
    }
    return out;
}

constexpr Metric kMetrics[] = {Metric::inner_product, Metric::l2, Metric::cosine};

}  // namespace

TEST(every_level_finds_what_a_sort_finds) {
    for (const Metric metric : kMetrics) {
        for (const bool whole : {false, true}) {
            for (const size_t width : {1, 5, 64, 515}) {
                for (const size_t count : {1, 2, 15, 16, 17, 32, 33, 48, 100, 700}) {
                    const auto rows = random_floats(count * width, count, whole);
                    const auto queries = random_floats(21 * width, width, whole);
                    const TopK model(rows.data(), count, width, metric, false);
                    for (const size_t k : {size_t{1}, size_t{10}, size_t{99}, count}) {
                        if (k > count) continue;
                        const Answer wanted = reference(rows, queries, width, metric, k);
                        for (const Isa level : available_isas()) {
                            if (level == Isa::baseline && width > 64 && count > 100) continue;  // slow
                            set_isa(level);
                            for (const size_t batch : {1, 4, 21}) {
                                CHECK(search(model, queries, k, batch, 1) == wanted);
                            }
                        }
                        set_isa(best_isa());
                    }
                }
            }
        }
    }
}

TEST(threads_share_queries_or_rows_and_find_the_same) {
    constexpr size_t count = 9000, width = 40;
    for (const Metric metric : kMetrics) {
        const auto rows = random_floats(count * width, 1, true);
        const auto queries = random_floats(300 * width, 2, true);
        const TopK model(rows.data(), count, width, metric, false);
        for (const size_t k : {1, 10, 3000}) {
            const Answer wanted =
                reference(rows, {queries.begin(), queries.begin() + 20 * width}, width, metric, k);
            const Answer alone = search(model, queries, k, 300, 1);
            CHECK(std::equal(wanted.indices.begin(), wanted.indices.end(), alone.indices.begin()));
            for (const int threads : {2, 3, 8}) {
                for (const size_t batch : {7, 64, 300}) {
                    CHECK(search(model, queries, k, batch, threads) == alone);
                }
            }
        }
    }
}

TEST(nan_and_infinite_scores_have_a_place) {
    constexpr size_t count = 300, width = 3;
    std::vector<float> rows(count * width);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = i % 7 == 0 ? 3e38f : (i % 5 == 0 ? -3e38f : 1.0f);
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<float> queries = {3e38f, 3e38f, 1, kNan, 0, 0, inf, 0, -inf, -3e38f, 2, 3e38f, 0, 0, 0};
    for (const Metric metric : kMetrics) {
        const TopK model(rows.data(), count, width, metric, false);
        for (const size_t k : {size_t{1}, size_t{50}, count}) {
            const Answer wanted = reference(rows, queries, width, metric, k);
            for (const Isa level : available_isas()) {
                set_isa(level);
                CHECK(search(model, queries, k, 2, 1) == wanted);
            }
            set_isa(best_isa());
        }
    }
}

TEST(a_row_is_at_no_distance_of_itself) {
    constexpr size_t count = 500, width = 77;
    const auto rows = random_floats(count * width, 5, false);
    const TopK model(rows.data(), count, width, Metric::l2, false);
    const Answer found = search(model, rows, 1, count, 1);
    for (size_t row = 0; row < count; ++row) {
        CHECK_EQ(found.indices[row], static_cast<int64_t>(row));
        CHECK_EQ(float_bits(found.scores[row]), 0u);
    }
}

TEST(values_are_in_order_as_keys) {
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<float> ascending = {kNan, -inf, -1, -1e-45f, 0, 1e-45f, 1, 3e38f, inf};
    for (size_t i = 0; i < ascending.size(); ++i) {
        const float back = topk::value_of(topk::key_of(ascending[i], 3));
        CHECK(back == ascending[i] || (back != back && i == 0));
        CHECK_EQ(topk::row_of(topk::key_of(ascending[i], 12345)), 12345u);
        CHECK(topk::key_of(ascending[i], 3) > topk::key_of(ascending[i], 4));
        if (i > 0) CHECK(topk::key_of(ascending[i], 9) > topk::key_of(ascending[i - 1], 0));
    }
    CHECK_EQ(topk::key_of(-0.0f, 1), topk::key_of(0.0f, 1));
    CHECK_EQ(topk::key_of(-kNan, 1), topk::key_of(kNan, 1));
}

TEST(rows_come_back_and_bad_ones_are_refused) {
    const auto rows = random_floats(70 * 3, 8, false);
    std::vector<float> back(rows.size());
    TopK(rows.data(), 70, 3, Metric::l2, false).copy_rows(back.data());
    CHECK(back == rows);
    TopK(rows.data(), 30, 7, Metric::cosine, true).copy_rows(back.data());
    CHECK(back == rows);
    auto bad = rows;
    bad[4] = kNan;
    CHECK_THROWS(TopK(bad.data(), 70, 3, Metric::l2, false), std::invalid_argument, "row 1");
    bad[4] = std::numeric_limits<float>::infinity();
    CHECK_THROWS(TopK(bad.data(), 70, 3, Metric::l2, false), std::invalid_argument, "finite");
    CHECK_THROWS(TopK(rows.data(), 0, 3, Metric::l2, false), std::invalid_argument, "0 x 3");
}
