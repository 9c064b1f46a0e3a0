// Bags at every ISA level and of every type beside plain loops.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "core/half.h"
#include "core/isa.h"
#include "kernels/embedding/embedding.h"

using namespace pyscale;
using embedding::Bags;
using embedding::Mode;
using embedding::Table;

namespace {

std::vector<float> reference(const std::vector<float>& table, size_t width,
                             const std::vector<int64_t>& indices, const std::vector<int64_t>& offsets,
                             const std::vector<float>& weights, Mode mode, int64_t padding) {
    std::vector<float> out;
    for (size_t bag = 0; bag + 1 < offsets.size(); ++bag) {
        for (size_t c = 0; c < width; ++c) {
            float sum = 0;
            int used = 0;
            for (auto i = static_cast<size_t>(offsets[bag]); i < static_cast<size_t>(offsets[bag + 1]); ++i) {
                if (indices[i] == padding) continue;
                const float value = table[static_cast<size_t>(indices[i]) * width + c];
                if (mode == Mode::max) {
                    sum = used == 0 || value > sum ? value : sum;
                } else {
                    sum = weights.empty() ? sum + value : std::fma(value, weights[i], sum);
                }
                ++used;
            }
            if (mode == Mode::mean && used > 0) sum /= static_cast<float>(used);
            out.push_back(sum != sum ? std::numeric_limits<float>::quiet_NaN() : sum);
        }
    }
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Case {
    std::vector<int64_t> indices, offsets{0};
    std::vector<float> weights;

    Case(size_t rows, size_t bags, std::mt19937_64& random) {
        std::normal_distribution<float> normal;
        for (size_t bag = 0; bag < bags; ++bag) {
            const size_t size = bag % 3 == 1 ? 0 : random() % 30;
            for (size_t i = 0; i < size; ++i) {
                indices.push_back(static_cast<int64_t>(random() % rows));
                weights.push_back(normal(random));
            }
            offsets.push_back(static_cast<int64_t>(indices.size()));
        }
    }
};

}  // namespace

TEST(every_level_adds_in_order) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    constexpr size_t rows = 40;
    for (const size_t width : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 50, 64, 100, 128, 300}) {
        std::vector<float> values(rows * width);
        for (float& x : values) x = normal(random);
        values[0] = std::numeric_limits<float>::quiet_NaN();
        values[1 % values.size()] = -std::numeric_limits<float>::infinity();
        values[2 % values.size()] = -0.0f;
        const Case bags(rows, 20, random);
        const std::vector<int32_t> narrow(bags.indices.begin(), bags.indices.end());
        for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
            std::vector<uint16_t> halves;
            std::vector<float> exact = values;
            if (dtype != DType::float32) {
                for (float& x : exact) {
                    if (dtype == DType::float16) {
                        const Half half = to_half(x);
                        halves.push_back(half.bits);
                        x = to_float(half);
                    } else {
                        halves.push_back(static_cast<uint16_t>(float_bits(x) >> 16));
                        x = to_float(BFloat16{halves.back()});
                    }
                }
            }
            const Table table(halves.empty() ? static_cast<const void*>(values.data()) : halves.data(), rows,
                              width, dtype);
            for (const Mode mode : {Mode::sum, Mode::mean, Mode::max}) {
                for (const bool weighted : {false, true}) {
                    if (weighted && mode != Mode::sum) continue;
                    for (const int64_t padding : {-1, 3}) {
                        const auto wanted =
                            reference(exact, width, bags.indices, bags.offsets,
                                      weighted ? bags.weights : std::vector<float>{}, mode, padding);
                        for (const bool wide : {false, true}) {
                            Bags given{};
                            given.indices = {
                                wide ? static_cast<const void*>(bags.indices.data()) : narrow.data(), wide,
                                narrow.size()};
                            given.count = bags.offsets.size() - 1;
                            given.offsets = bags.offsets.data();
                            given.end = bags.indices.size();
                            given.weights = weighted ? bags.weights.data() : nullptr;
                            given.padding = padding;
                            for (const Isa level : available_isas()) {
                                set_isa(level);
                                std::vector<float> out(wanted.size(), 7);
                                table.reduce(given, mode, out.data(), 1);
                                CHECK(same_bits(out, wanted));
                            }
                            set_isa(best_isa());
                        }
                    }
                }
            }
        }
    }
}

TEST(threads_share_bags) {
    std::mt19937_64 random(2);
    constexpr size_t rows = 1000, width = 70, count = 999;
    std::vector<float> values(rows * width);
    for (float& x : values) x = static_cast<float>(random() % 1000) / 7;
    std::vector<int64_t> indices(count * 20);
    for (int64_t& index : indices) index = static_cast<int64_t>(random() % rows);
    const Table table(values.data(), rows, width, DType::float32);
    Bags bags{};
    bags.indices = {indices.data(), true, indices.size()};
    bags.count = count;
    bags.each = 20;
    bags.padding = -1;
    std::vector<float> alone(count * width), together(count * width);
    table.reduce(bags, Mode::mean, alone.data(), 1);
    for (const int threads : {2, 7}) {
        table.reduce(bags, Mode::mean, together.data(), threads);
        CHECK(same_bits(alone, together));
    }
}

TEST(tables_that_are_none_are_refused) {
    const double value = 1;
    CHECK_THROWS(Table(&value, 1, 1, DType::float64), std::invalid_argument, "got float64");
    CHECK_THROWS(Table(&value, 0, 1, DType::float32), std::invalid_argument, "0 x 1");
}
