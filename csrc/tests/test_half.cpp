#include <cmath>
#include <limits>
#include <random>

#include "check.h"
#include "core/half.h"

using namespace pyscale;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A 16-bit format by its definition.
struct Format {
    int mantissa_bits;
    int bias;
    int all_ones;  // the exponent of infinities and NaNs

    double value(uint16_t bits) const {
        const int exponent = (bits & 0x7fff) >> mantissa_bits;
        const int mantissa = bits & ((1 << mantissa_bits) - 1);
        double magnitude;
        if (exponent == all_ones) {
            magnitude = mantissa == 0 ? kInfinity : std::numeric_limits<double>::quiet_NaN();
        } else if (exponent == 0) {
            magnitude = std::ldexp(mantissa, 1 - bias - mantissa_bits);
        } else {
            magnitude = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
        }
        return bits & 0x8000 ? -magnitude : magnitude;
    }

    // x, not NaN, rounded to a multiple of the format's spacing there. The default rounding mode is to even.
    double round(double x) const {
        const double largest = std::ldexp(2 - std::ldexp(1, -mantissa_bits), all_ones - 1 - bias);
        const int exponent = x == 0 ? 1 - bias : std::max(std::ilogb(x), 1 - bias);
        const double spacing = std::ldexp(1, exponent - mantissa_bits);
        const double rounded = std::isinf(x) ? x : std::nearbyint(x / spacing) * spacing;
        return std::abs(rounded) > largest ? std::copysign(kInfinity, x) : rounded;
    }
};

constexpr Format kHalf{10, 15, 31};
constexpr Format kBFloat16{7, 127, 255};

bool same(double a, double b) {
    return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

void check_rounding(double x) {
    const float single = static_cast<float>(x);
    CHECK(same(kHalf.value(to_half(x).bits), kHalf.round(x)));
    CHECK(same(kHalf.value(to_half(single).bits), kHalf.round(single)));
    CHECK(same(kBFloat16.value(to_bfloat16(x).bits), kBFloat16.round(x)));
    CHECK(same(kBFloat16.value(to_bfloat16(single).bits), kBFloat16.round(single)));
}

}  // namespace

TEST(every_16_bit_value_widens_exactly_and_comes_back) {
    for (uint32_t i = 0; i < 0x10000; ++i) {
        const auto bits = static_cast<uint16_t>(i);
        const float half = to_float(Half{bits});
        const float brain = to_float(BFloat16{bits});
        CHECK(same(half, kHalf.value(bits)));
        CHECK(same(brain, kBFloat16.value(bits)));
        // A signalling NaN comes back quiet.
        CHECK_EQ(to_half(half).bits, std::isnan(half) ? bits | 0x200 : bits);
        CHECK_EQ(to_half(static_cast<double>(half)).bits, std::isnan(half) ? bits | 0x200 : bits);
        CHECK_EQ(to_bfloat16(brain).bits, std::isnan(brain) ? bits | 0x40 : bits);
    }
}

TEST(half_way_cases_and_their_neighbours_round_to_even) {
    for (uint32_t i = 0; i < 0x7fff; ++i) {
        for (const Format& format : {kHalf, kBFloat16}) {
            const double low = format.value(static_cast<uint16_t>(i));
            const double high = format.value(static_cast<uint16_t>(i + 1));
            if (!std::isfinite(low)) {
                continue;
            }
            const double spacing =
                std::isinf(high) ? low - format.value(static_cast<uint16_t>(i - 1)) : high - low;
            const double middle = low + spacing / 2;
            for (double x : {low, middle, std::nextafter(middle, 0.0), std::nextafter(middle, kInfinity),
                             static_cast<double>(std::nextafter(static_cast<float>(middle), 0.0f)),
                             static_cast<double>(std::nextafter(static_cast<float>(middle), 1e38f))}) {
                check_rounding(x);
                check_rounding(-x);
            }
        }
    }
}

TEST(random_values_round_to_nearest) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 300000; ++i) {
        const float single = float_from_bits(static_cast<uint32_t>(random()));
        if (!std::isnan(single)) {
            check_rounding(single);
            check_rounding(single + std::ldexp(single, -30));
        }
        const uint64_t bits = random();
        double wide;
        std::memcpy(&wide, &bits, sizeof wide);
        if (!std::isnan(wide)) {
            check_rounding(wide);
        }
    }
    for (double x :
         {0.0, 1e300, 1e-300, 5e-324, kInfinity, 65504.0, 65519.99, 65520.0, 3.4e38, 3.3961775e38}) {
        check_rounding(x);
        check_rounding(-x);
    }
}

TEST(nan_stays_nan_of_the_same_sign) {
    for (uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0xffffffffu, 0x7fffffffu}) {
        const auto half = to_half(float_from_bits(bits));
        const auto brain = to_bfloat16(float_from_bits(bits));
        CHECK((half.bits & 0x7e00) == 0x7e00);
        CHECK((brain.bits & 0x7fc0) == 0x7fc0);
        CHECK_EQ(half.bits >> 15, static_cast<int>(bits >> 31));
        CHECK_EQ(brain.bits >> 15, static_cast<int>(bits >> 31));
    }
    CHECK(std::isnan(to_float(to_half(std::nan("")))));
    CHECK(std::isnan(to_float(to_bfloat16(-std::nan("")))));
}
