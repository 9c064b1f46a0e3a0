#pragma once
// The 16-bit floats and their exact conversions, in integer arithmetic, so that every machine gives the same
// bits. Rounding is to nearest, ties to even. A NaN stays a NaN of the same sign and becomes quiet, as in
// hardware.

#include <cstdint>
#include <cstring>

namespace pyscale {

struct Half {  // IEEE binary16: 5 exponent bits, 10 of mantissa
    uint16_t bits;
};

struct BFloat16 {  // the upper half of a float32: 8 exponent bits, 7 of mantissa
    uint16_t bits;
};

inline uint32_t float_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float to_float(BFloat16 value) { return float_from_bits(uint32_t{value.bits} << 16); }

inline float to_float(Half value) {
    const uint32_t sign = uint32_t{value.bits} >> 15 << 31;
    const uint32_t exponent = value.bits >> 10 & 0x1f;
    const uint32_t mantissa = value.bits & 0x3ff;
    if (exponent == 0) {  // zero or a denormal: a multiple of 2^-24
        return float_from_bits(sign | float_bits(static_cast<float>(mantissa) * 0x1p-24f));
    }
    if (exponent == 0x1f) {
        const uint32_t quiet = mantissa != 0 ? 0x400000 : 0;
        return float_from_bits(sign | 0x7f800000 | quiet | mantissa << 13);
    }
    return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

inline BFloat16 to_bfloat16(float value) {
    const uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return {static_cast<uint16_t>(bits >> 16 | 0x40)};
    }
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline Half to_half(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = bits >> 31 << 15;
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return {static_cast<uint16_t>(sign | 0x7e00 | (magnitude >> 13 & 0x3ff))};
    }
    if (magnitude >= 0x477ff000) {  // 65520, half-way from the largest float16 to 2^16, and above
        return {static_cast<uint16_t>(sign | 0x7c00)};
    }
    if (magnitude < 0x33000000) {  // under 2^-25, half of the least denormal
        return {static_cast<uint16_t>(sign)};
    }
    // The float16's mantissa is the float32's, shifted right by 13, or by more where the result is denormal.
    const bool denormal = magnitude < 0x38800000;
    const uint32_t shift = denormal ? 126 - (magnitude >> 23) : 13;
    const uint32_t whole = denormal ? (magnitude & 0x7fffff) | 0x800000 : magnitude - (112u << 23);
    const uint32_t even = whole >> shift & 1;
    return {static_cast<uint16_t>(sign | (whole + (1u << (shift - 1)) - 1 + even) >> shift)};
}

// The nearest float32, except that an inexact one is the neighbour whose last bit is 1. Rounding that once
// more to a format at least two bits narrower gives what one rounding of the float64 gives.
inline float round_to_odd(double value) {
    const float nearest = static_cast<float>(value);
    if (static_cast<double>(nearest) == value || value != value) {
        return nearest;
    }
    uint32_t bits = float_bits(nearest);
    const double magnitude = value < 0 ? -value : value;
    if (static_cast<double>(float_from_bits(bits & 0x7fffffff)) > magnitude) {
        bits -= 1;  // toward zero
    }
    return float_from_bits(bits | 1);
}

inline BFloat16 to_bfloat16(double value) { return to_bfloat16(round_to_odd(value)); }
inline Half to_half(double value) { return to_half(round_to_odd(value)); }

}  // namespace pyscale
