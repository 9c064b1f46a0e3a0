// Layers at every ISA level beside plain loops with std::fma; any batch; and what is refused.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/dense/dense.h"

using namespace pyscale;
using dense::Activation;
using dense::Dense;
using dense::Input;
using dense::WeightType;

namespace {

std::vector<float> random_floats(size_t count, uint64_t seed, float scale = 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> out(count);
    for (float& x : out) x = normal(random);
    return out;
}

Input rows_of(const std::vector<float>& x, size_t features) {
    return {reinterpret_cast<const char*>(x.data()), static_cast<ptrdiff_t>(features * sizeof(float)),
            sizeof(float), false};
}

float as_bfloat16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    std::memcpy(&x, &bits, 4);
    return x;
}

// Weights as whole numbers, and the scale of each output.
std::pair<std::vector<int8_t>, std::vector<float>> as_bytes(const std::vector<float>& weights,
                                                            size_t inputs) {
    std::vector<int8_t> levels(weights.size());
    std::vector<float> scales(weights.size() / inputs);
    for (size_t o = 0; o < scales.size(); ++o) {
        float largest = 0;
        for (size_t k = 0; k < inputs; ++k) largest = std::max(largest, std::abs(weights[o * inputs + k]));
        scales[o] = largest / 127;
        for (size_t k = 0; k < inputs; ++k) {
            levels[o * inputs + k] = static_cast<int8_t>(std::nearbyint(weights[o * inputs + k] / scales[o]));
        }
    }
    return {levels, scales};
}

// What bytes with given levels make of numbers.
std::vector<int> bytes_of(const std::vector<float>& x, const dense::Levels& levels) {
    std::vector<int> out;
    for (const float value : x) {
        const auto low = -static_cast<float>(levels.zero);
        out.push_back(static_cast<int>(std::nearbyint(std::clamp(value * levels.factor, low, low + 255))) +
                      levels.zero);
    }
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST(a_linear_layer_is_a_chain_of_fused_additions) {
    for (const WeightType type : {WeightType::float32, WeightType::bfloat16}) {
        for (const size_t inputs : {1, 7, 64, 513, 1030}) {
            for (const size_t outputs : {1, 10, 16, 17, 31, 32, 33, 48, 130}) {
                const auto weights = random_floats(inputs * outputs, inputs);
                const auto bias = random_floats(outputs, outputs);
                auto x = random_floats(37 * inputs, 3);
                x[0] = 1e-42f;
                if (inputs > 1) x[1] = std::numeric_limits<float>::infinity();
                std::vector<float> wanted(37 * outputs);
                for (size_t row = 0; row < 37; ++row) {
                    for (size_t o = 0; o < outputs; ++o) {
                        float sum = bias[o];
                        for (size_t k = 0; k < inputs; ++k) {
                            const float w = weights[o * inputs + k];
                            sum = std::fma(x[row * inputs + k],
                                           type == WeightType::float32 ? w : as_bfloat16(w), sum);
                        }
                        wanted[row * outputs + o] = sum < 0 ? 0 : sum;
                    }
                }
                Dense model(inputs);
                model.add_linear(weights.data(), bias.data(), inputs, outputs, type);
                model.add_activation(Activation::relu, 0);
                for (const Isa level : available_isas()) {
                    set_isa(level);
                    for (const size_t batch : {1, 2, 3, 5, 8, 13, 37}) {
                        std::vector<float> out(37 * outputs);
                        for (size_t row = 0; row < 37; row += batch) {
                            Input input = rows_of(x, inputs);
                            input.data += static_cast<ptrdiff_t>(row) * input.row_stride;
                            model.predict(input, std::min<size_t>(batch, 37 - row),
                                          out.data() + row * outputs, 1);
                        }
                        CHECK(same_bits(out, wanted));
                    }
                }
                set_isa(best_isa());
            }
        }
    }
}

TEST(levels_agree_on_every_function) {
    constexpr size_t rows = 9, features = 77;
    const auto x = random_floats(rows * features, 1, 5);
    const auto weights = random_floats(features * 45, 2);
    const std::vector<double> ones(45, 1.5), zeros(45, -0.25);
    for (int a = 0; a <= static_cast<int>(Activation::sigmoid); ++a) {
        Dense model(features);
        model.add_linear(weights.data(), nullptr, features, 45, WeightType::float32);
        model.add_activation(static_cast<Activation>(a), 0.3f);
        model.add_layer_norm(ones.data(), zeros.data(), 45, 1e-5);
        model.add_activation(static_cast<Activation>(a), 0.3f);
        model.add_softmax();
        std::vector<float> first;
        for (const Isa level : available_isas()) {
            set_isa(level);
            for (const int threads : {1, 2}) {
                std::vector<float> out(rows * 45);
                model.predict(rows_of(x, features), rows, out.data(), threads);
                if (first.empty()) first = out;
                CHECK(same_bits(out, first));
            }
        }
        set_isa(best_isa());
    }
}

TEST(functions_are_rounded_once) {
    const std::vector<std::pair<Activation, double (*)(double)>> functions = {
        {Activation::elu, [](double x) { return x < 0 ? std::expm1(x) : x; }},
        {Activation::gelu, [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }},
        {Activation::silu, [](double x) { return x / (1 + std::exp(-x)); }},
        {Activation::tanh, [](double x) { return std::tanh(x); }},
        {Activation::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
    };
    for (const auto& [activation, exact] : functions) {
        double worst = 0;
        for (uint32_t bits = 0; bits < 0x7f800000; bits += 997) {
            for (const uint32_t sign : {0u, 0x80000000u}) {
                const uint32_t all = bits | sign;
                float x;
                std::memcpy(&x, &all, 4);
                float y = x;
                dense::apply(activation, 1, &y, 1);
                const double wanted = exact(static_cast<double>(x));
                const auto nearest = static_cast<float>(wanted);
                if (nearest == y || std::isinf(nearest)) {
                    CHECK(nearest == y);
                    continue;
                }
                const double unit = std::max(std::ldexp(1.0, std::ilogb(wanted) - 23), std::ldexp(1.0, -149));
                worst = std::max(worst, std::abs(static_cast<double>(y) - wanted) / unit);
            }
        }
        CHECK(worst < 0.51);
    }
}

TEST(what_does_not_fit_is_refused) {
    const std::vector<float> weights(6);
    Dense model(3);
    CHECK_THROWS(model.add_linear(weights.data(), nullptr, 2, 3, WeightType::float32), std::invalid_argument,
                 "layers[0]: linear: expected 3 inputs, got 2");
    CHECK_THROWS(Dense(0), std::invalid_argument, "features");
}

TEST(bytes_give_the_same_at_every_level) {
    for (const size_t inputs : {1, 5, 64, 1030}) {
        for (const size_t outputs : {1, 16, 33, 64, 77}) {
            const auto weights = random_floats(inputs * outputs, inputs);
            const auto bias = random_floats(outputs, outputs);
            const auto x = random_floats(37 * inputs, 3);
            Dense exact(inputs), model(inputs);
            exact.add_linear(weights.data(), bias.data(), inputs, outputs, WeightType::float32);
            const auto [levels, scales] = as_bytes(weights, inputs);
            model.add_linear_int8(levels.data(), scales.data(), bias.data(), inputs, outputs, {});
            model.add_activation(Activation::tanh, 0);
            exact.add_activation(Activation::tanh, 0);
            std::vector<float> near(37 * outputs), first;
            exact.predict(rows_of(x, inputs), 37, near.data(), 1);
            for (const Isa level : available_isas()) {
                set_isa(level);
                for (const size_t batch : {1, 4, 13, 37}) {
                    std::vector<float> out(37 * outputs);
                    for (size_t row = 0; row < 37; row += batch) {
                        Input input = rows_of(x, inputs);
                        input.data += static_cast<ptrdiff_t>(row) * input.row_stride;
                        model.predict(input, std::min<size_t>(batch, 37 - row), out.data() + row * outputs,
                                      1);
                    }
                    if (first.empty()) first = out;
                    CHECK(same_bits(out, first));
                }
            }
            set_isa(best_isa());
            // Both roundings are to 1 / 254 of the largest at most.
            const double bound = 0.05 * std::sqrt(static_cast<double>(inputs)) + 0.02;
            for (size_t i = 0; i < near.size(); ++i) {
                CHECK(std::abs(static_cast<double>(near[i]) - static_cast<double>(first[i])) < bound);
            }
        }
    }
}

TEST(fixed_levels_are_plain_sums_of_whole_numbers) {
    constexpr size_t rows = 37;
    const dense::Levels levels[] = {{0.02f, 1 / 0.02f, 110}, {0.05f, 1 / 0.05f, 0}, {0.03f, 1 / 0.03f, 255}};
    for (const size_t inputs : {1, 64, 203}) {
        for (const size_t hidden : {1, 17, 40, 96}) {
            for (const Activation function : {Activation::relu, Activation::silu}) {
                const size_t widths[] = {inputs, hidden, 33, 5};
                auto wanted = random_floats(rows * inputs, 3, 3);
                wanted[0] = std::numeric_limits<float>::infinity();
                const auto x = wanted;
                Dense model(inputs);
                for (size_t layer = 0; layer < 3; ++layer) {
                    const size_t from = widths[layer], to = widths[layer + 1];
                    const auto [weights, scales] = as_bytes(random_floats(from * to, layer), from);
                    const auto bias = random_floats(to, layer + 9);
                    model.add_linear_int8(weights.data(), scales.data(), bias.data(), from, to,
                                          levels[layer]);
                    model.add_activation(function, 0);
                    const auto bytes = bytes_of(wanted, levels[layer]);
                    wanted.assign(rows * to, 0);
                    for (size_t row = 0; row < rows; ++row) {
                        for (size_t o = 0; o < to; ++o) {
                            int sum = 0;
                            for (size_t k = 0; k < from; ++k) {
                                sum += (bytes[row * from + k] - levels[layer].zero) * weights[o * from + k];
                            }
                            wanted[row * to + o] =
                                static_cast<float>(sum) * (scales[o] * levels[layer].scale) + bias[o];
                        }
                    }
                    dense::apply(function, 0, wanted.data(), wanted.size());
                }
                for (const Isa level : available_isas()) {
                    set_isa(level);
                    for (const size_t batch : {1, 4, 13, 37}) {
                        std::vector<float> out(rows * 5);
                        for (size_t row = 0; row < rows; row += batch) {
                            Input input = rows_of(x, inputs);
                            input.data += static_cast<ptrdiff_t>(row) * input.row_stride;
                            model.predict(input, std::min(batch, rows - row), out.data() + row * 5, 1);
                        }
                        CHECK(same_bits(out, wanted));
                    }
                }
                set_isa(best_isa());
            }
        }
    }
}
