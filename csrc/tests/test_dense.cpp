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
            model.add_linear(weights.data(), bias.data(), inputs, outputs, WeightType::int8);
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
