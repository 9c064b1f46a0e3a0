#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "check.h"
#include "core/isa.h"
#include "kernels/reduce.h"

using namespace pyscale;

namespace {

std::mt19937_64 generator(7);

size_t random_below(size_t n) { return generator() % n; }

template <class T>
constexpr bool is_integer = std::is_integral_v<T>;

template <class T>
T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class A, class T>
A widen(T value) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
        return to_float(value);
    } else {
        return static_cast<A>(value);
    }
}

template <class T, class A>
T narrow(A value) {
    if constexpr (std::is_same_v<T, Half>) {
        return to_half(value);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
        return to_bfloat16(value);
    } else {
        return static_cast<T>(value);
    }
}

// Any bits for an integer. For a float: mostly ordinary numbers of either sign, some of any bits at all,
// which include denormals, and some of the values where implementations differ.
template <class T>
T random_value() {
    if constexpr (std::is_same_v<T, bool>) {
        return generator() % 2 == 0;
    } else if constexpr (is_integer<T>) {
        return static_cast<T>(generator());
    } else {
        const uint64_t kind = generator() % 16;
        if (kind == 0) {
            return from_bits<T>(generator());
        }
        if (kind == 1) {
            using Limits = std::numeric_limits<double>;
            const double special[] = {0.0,
                                      -0.0,
                                      Limits::infinity(),
                                      -Limits::infinity(),
                                      Limits::quiet_NaN(),
                                      -Limits::quiet_NaN(),
                                      65504,
                                      -65504,
                                      0x1p-24,
                                      0x1.fffffep127,
                                      0x1p-149};
            return narrow<T>(special[generator() % std::size(special)]);
        }
        return narrow<T>(
            std::ldexp(static_cast<double>(generator() % 4096) - 2048.0, -static_cast<int>(kind)));
    }
}

// What reduce() promises, element by element.
template <class In, class Out>
Out reference(Op op, const std::vector<In>& terms, int64_t divisor) {
    if constexpr (is_integer<In>) {
        uint64_t wrapped = static_cast<uint64_t>(terms[0]);
        In least = terms[0], greatest = terms[0];
        for (size_t s = 1; s < terms.size(); ++s) {
            const auto term = static_cast<uint64_t>(terms[s]);
            wrapped = op == Op::prod ? wrapped * term : wrapped + term;
            least = std::min(least, terms[s]);
            greatest = std::max(greatest, terms[s]);
        }
        return op == Op::min ? least : op == Op::max ? greatest : static_cast<Out>(wrapped);
    } else {
        using A =
            std::conditional_t<std::is_same_v<In, double> || std::is_same_v<Out, double>, double, float>;
        const auto fold = [&](A scale) {
            A acc = widen<A>(terms[0]) * scale;
            for (size_t s = 1; s < terms.size(); ++s) {
                const A term = widen<A>(terms[s]) * scale;
                if (op == Op::sum || op == Op::mean) {
                    acc += term;
                } else if (op == Op::prod) {
                    acc *= term;
                } else if (std::isnan(acc) || std::isnan(term)) {
                    acc = std::numeric_limits<A>::quiet_NaN();
                } else {
                    acc = (op == Op::min ? acc < term : acc > term) ? acc : term;
                }
            }
            return acc;
        };
        A result = fold(1);
        if (op == Op::mean) {
            if (std::isfinite(result)) {
                result /= static_cast<A>(divisor);
            } else {
                A scale = 1;
                while (static_cast<A>(divisor) * scale > 1) {
                    scale /= 2;
                }
                result = fold(scale) / (static_cast<A>(divisor) * scale);
            }
        }
        return narrow<Out>(std::isnan(result) ? std::numeric_limits<A>::quiet_NaN() : result);
    }
}

struct Case {
    int nsrc;
    int ndst;
    size_t n;
    int in_place = 0;  // dst[d] is src[d] for d below
};

// One call on all ISA levels, at addresses of any alignment, with guards around each destination.
template <class In, class Out>
void check_case(DType in, DType out, Op op, const Case& c, int64_t divisor) {
    constexpr size_t guard = 64;
    std::vector<std::vector<In>> values(c.nsrc, std::vector<In>(c.n));
    for (auto& source : values) {
        std::generate(source.begin(), source.end(), random_value<In>);
    }
    std::vector<Out> expected(c.n);
    for (size_t i = 0; i < c.n; ++i) {
        std::vector<In> terms;
        for (const auto& source : values) {
            terms.push_back(source[i]);
        }
        expected[i] = reference<In, Out>(op, terms, divisor);
    }
    for (Isa level : available_isas()) {
        set_isa(level);
        std::vector<std::vector<char>> sources(c.nsrc), outputs(c.ndst);
        std::vector<const void*> src;
        std::vector<void*> dst;
        for (int s = 0; s < c.nsrc; ++s) {
            const size_t offset = guard + random_below(64);
            sources[s].assign(offset + c.n * sizeof(In) + guard, '\x5a');
            for (size_t i = 0; i < c.n; ++i) {
                const In value = values[s][i];
                std::memcpy(&sources[s][offset + i * sizeof(In)], &value, sizeof value);
            }
            src.push_back(&sources[s][offset]);
        }
        for (int d = 0; d < c.ndst; ++d) {
            const size_t offset = guard + random_below(64);
            outputs[d].assign(offset + c.n * sizeof(Out) + guard, '\x5a');
            dst.push_back(d < c.in_place ? const_cast<void*>(src[d]) : &outputs[d][offset]);
        }
        reduce(in, out, op, src.data(), c.nsrc, dst.data(), c.ndst, c.n, divisor);
        for (int d = 0; d < c.ndst; ++d) {
            const char* result = static_cast<const char*>(dst[d]);
            for (size_t i = 0; i < c.n; ++i) {
                const Out value = expected[i];
                if (std::memcmp(result + i * sizeof(Out), &value, sizeof value) != 0) {
                    uint64_t got = 0, wanted = 0;
                    std::memcpy(&got, result + i * sizeof(Out), sizeof(Out));
                    std::memcpy(&wanted, &value, sizeof value);
                    std::ostringstream what;
                    what << name(op) << ' ' << name(in) << " to " << name(out) << ", " << name(level)
                         << ", nsrc " << c.nsrc << ", n " << c.n << ", element " << i << ": 0x" << std::hex
                         << got << " instead of 0x" << wanted;
                    test::fail(__FILE__, __LINE__, what.str());
                    break;
                }
            }
            const char* end = result + c.n * sizeof(Out);
            CHECK(std::all_of(result - guard, result, [](char x) { return x == '\x5a'; }));
            CHECK(std::all_of(end, end + guard, [](char x) { return x == '\x5a'; }));
        }
    }
    set_isa(best_isa());
}

// Calls f(in, out, op, In, Out) for all that reduce() takes.
template <class F>
void for_each_kind(F&& f) {
    for (DType in : kDTypes) {
        visit(in, [&, in](auto in_tag) {
            using In = typename decltype(in_tag)::type;
            for (DType out : kDTypes) {
                if (convertible(in, out)) {
                    visit(out, [&, in, out](auto out_tag) {
                        using Out = typename decltype(out_tag)::type;
                        for (Op op : kOps) {
                            if (reducible(in, op)) {
                                f(in, out, op, Tag<In>{}, Tag<Out>{});
                            }
                        }
                    });
                }
            }
        });
    }
}

template <class A, class B>
void run_case(DType in, DType out, Op op, Tag<A>, Tag<B>, const Case& c, int64_t divisor) {
    if constexpr (is_integer<A> == is_integer<B>) {
        check_case<A, B>(in, out, op, c, divisor);
    }
}

template <class T>
T reduce_one(DType dtype, Op op, const std::vector<T>& terms, int64_t divisor = 1) {
    std::vector<const void*> src;
    for (const T& term : terms) {
        src.push_back(&term);
    }
    T result;
    void* dst = &result;
    reduce(dtype, dtype, op, src.data(), static_cast<int>(terms.size()), &dst, 1, 1, divisor);
    return result;
}

}  // namespace

TEST(every_length) {
    for_each_kind([](DType in, DType out, Op op, auto in_tag, auto out_tag) {
        for (size_t n = 0; n <= 200; ++n) {
            run_case(in, out, op, in_tag, out_tag,
                     {1 + static_cast<int>(n % 9), 1 + static_cast<int>(n % 2), n},
                     1 + static_cast<int64_t>(n % 9));
        }
        run_case(in, out, op, in_tag, out_tag, {3, 1, 10007}, 3);
    });
}

TEST(every_number_of_sources_and_destinations) {
    for_each_kind([](DType in, DType out, Op op, auto in_tag, auto out_tag) {
        for (int nsrc = 1; nsrc <= 9; ++nsrc) {
            for (int ndst = 1; ndst <= 8; ++ndst) {
                run_case(in, out, op, in_tag, out_tag, {nsrc, ndst, 50 + random_below(100)}, nsrc);
            }
        }
    });
}

TEST(in_place) {
    for_each_kind([](DType in, DType out, Op op, auto in_tag, auto out_tag) {
        if (in != out) {
            return;
        }
        for (int nsrc = 1; nsrc <= 8; ++nsrc) {
            for (int in_place = 1; in_place <= nsrc; ++in_place) {
                run_case(in, out, op, in_tag, out_tag, {nsrc, nsrc, 300 + random_below(50), in_place}, nsrc);
            }
        }
    });
}

TEST(nothing_to_do) {
    reduce(DType::float32, DType::float32, Op::sum, std::vector<const void*>(2).data(), 2,
           std::vector<void*>(1).data(), 1, 0);
    const float x = 1;
    const void* src = &x;
    reduce(DType::float32, DType::float32, Op::sum, &src, 1, nullptr, 0, 1);
}

TEST(means_neither_overflow_nor_underflow) {
    for (Isa level : available_isas()) {
        set_isa(level);
        for (int count : {2, 3, 7, 8, 9}) {
            const size_t terms = static_cast<size_t>(count);
            for (double sign : {1.0, -1.0}) {
                const double f64 = sign * std::numeric_limits<double>::max();
                const float f32 = static_cast<float>(sign) * std::numeric_limits<float>::max();
                const Half f16 = to_half(sign * 65504);
                const BFloat16 bf16 = to_bfloat16(sign * 0x1.fep127);
                // The partial sums round, so that the last bits may differ.
                const double mean64 =
                    reduce_one(DType::float64, Op::mean, std::vector<double>(terms, f64), count);
                const float mean32 =
                    reduce_one(DType::float32, Op::mean, std::vector<float>(terms, f32), count);
                CHECK(mean64 / f64 > 1 - 1e-15 && mean64 / f64 <= 1);
                CHECK(mean32 / f32 > 1 - 1e-6f && mean32 / f32 <= 1);
                CHECK_EQ(reduce_one(DType::float16, Op::mean, std::vector<Half>(terms, f16), count).bits,
                         f16.bits);
                CHECK_EQ(
                    reduce_one(DType::bfloat16, Op::mean, std::vector<BFloat16>(terms, bf16), count).bits,
                    bf16.bits);
            }
            // The least denormals: dividing each term first would give 0.
            CHECK_EQ(reduce_one(DType::float64, Op::mean, std::vector<double>(terms, 5e-324), count), 5e-324);
            CHECK_EQ(reduce_one(DType::float32, Op::mean, std::vector<float>(terms, 0x1p-149f), count),
                     0x1p-149f);
            CHECK_EQ(reduce_one(DType::float16, Op::mean, std::vector<Half>(terms, Half{1}), count).bits, 1);
            CHECK_EQ(
                reduce_one(DType::bfloat16, Op::mean, std::vector<BFloat16>(terms, BFloat16{1}), count).bits,
                1);
        }
        // The plain sum of the first three is infinite.
        const float max = std::numeric_limits<float>::max();
        CHECK_EQ(reduce_one<float>(DType::float32, Op::mean, {max, max, -max, -max, 0x1p120f}, 5),
                 0x1p120f / 5);
        CHECK(std::isinf(reduce_one<float>(DType::float32, Op::mean, {max, HUGE_VALF}, 2)));
        CHECK(std::isnan(reduce_one<float>(DType::float32, Op::mean, {-HUGE_VALF, HUGE_VALF}, 2)));
    }
    set_isa(best_isa());
}

TEST(an_overflow_touches_no_other_element) {
    std::vector<float> a(500), b(500), expected(500), got(500);
    for (size_t i = 0; i < a.size(); ++i) {
        a[i] = i % 37 == 5 ? 3e38f : static_cast<float>(i) * 0.1f;
        b[i] = i % 37 == 5 ? 2e38f : static_cast<float>(i) * 0.7f;
        expected[i] = i % 37 == 5 ? 2.5e38f : (a[i] + b[i]) / 2;
    }
    const void* src[] = {a.data(), b.data()};
    void* dst[] = {got.data()};
    reduce(DType::float32, DType::float32, Op::mean, src, 2, dst, 1, got.size(), 2);
    CHECK(got == expected);
}

TEST(min_and_max_keep_nan_as_numpy_does) {
    const float nan = std::nanf("");
    for (Isa level : available_isas()) {
        set_isa(level);
        for (Op op : {Op::min, Op::max}) {
            for (const std::vector<float>& terms :
                 {std::vector<float>{nan, 1, 2}, {1, nan, 2}, {1, 2, nan}}) {
                CHECK(std::isnan(reduce_one(DType::float32, op, terms)));
            }
        }
        CHECK_EQ(reduce_one<float>(DType::float32, Op::min, {3, 1, 2}), 1.0f);
        CHECK_EQ(reduce_one<int8_t>(DType::int8, Op::max, {-128, -1, -2}), int8_t{-1});
        CHECK_EQ(reduce_one<uint8_t>(DType::uint8, Op::max, {128, 1, 2}), uint8_t{128});
        CHECK_EQ(reduce_one<uint8_t>(DType::boolean, Op::min, {1, 0}), uint8_t{0});
        CHECK_EQ(reduce_one<uint8_t>(DType::boolean, Op::max, {0, 1}), uint8_t{1});
    }
    set_isa(best_isa());
}

TEST(every_16_bit_value_converts_alike_on_all_levels) {
    std::vector<uint16_t> all(0x10000);
    for (size_t i = 0; i < all.size(); ++i) {
        all[i] = static_cast<uint16_t>(i);
    }
    for (DType dtype : {DType::float16, DType::bfloat16}) {
        std::vector<float> wide(all.size());
        std::vector<uint16_t> back(all.size());
        for (Isa level : available_isas()) {
            set_isa(level);
            const void* src[] = {all.data()};
            void* dst[] = {wide.data()};
            reduce(dtype, DType::float32, Op::sum, src, 1, dst, 1, all.size());
            const void* wide_src[] = {wide.data()};
            void* back_dst[] = {back.data()};
            reduce(DType::float32, dtype, Op::sum, wide_src, 1, back_dst, 1, all.size());
            for (size_t i = 0; i < all.size(); ++i) {
                const float exact =
                    dtype == DType::float16 ? to_float(Half{all[i]}) : to_float(BFloat16{all[i]});
                if (std::isnan(exact)) {
                    CHECK_EQ(float_bits(wide[i]), 0x7fc00000u);
                    CHECK_EQ(back[i], dtype == DType::float16 ? 0x7e00 : 0x7fc0);
                } else {
                    CHECK_EQ(float_bits(wide[i]), float_bits(exact));
                    CHECK_EQ(back[i], all[i]);
                }
            }
        }
    }
    set_isa(best_isa());
}

TEST(rounding_to_16_bits_is_that_of_the_scalar_code) {
    std::vector<float> values;
    for (uint64_t bits = 0; bits <= 0xffffffff; bits += 4093) {
        values.push_back(float_from_bits(static_cast<uint32_t>(bits)));
    }
    for (uint32_t half = 0; half < 0x7c00; ++half) {  // half-way cases and their neighbours
        const uint32_t low = float_bits(to_float(Half{static_cast<uint16_t>(half)}));
        const uint32_t high = float_bits(to_float(Half{static_cast<uint16_t>(half + 1)}));
        for (uint32_t step : {0u, 1u, 2u}) {
            values.push_back((float_from_bits(low) + float_from_bits(std::min(high, 0x47800000u))) / 2);
            values.back() = float_from_bits(float_bits(values.back()) - 1 + step);
        }
    }
    for (DType dtype : {DType::float16, DType::bfloat16}) {
        std::vector<uint16_t> got(values.size());
        for (Isa level : available_isas()) {
            set_isa(level);
            const void* src[] = {values.data()};
            void* dst[] = {got.data()};
            reduce(DType::float32, dtype, Op::sum, src, 1, dst, 1, values.size());
            for (size_t i = 0; i < values.size(); ++i) {
                if (!std::isnan(values[i])) {
                    CHECK_EQ(got[i],
                             dtype == DType::float16 ? to_half(values[i]).bits : to_bfloat16(values[i]).bits);
                }
            }
        }
    }
    set_isa(best_isa());
}

TEST(all_finite_sees_every_element) {
    for (Isa level : available_isas()) {
        set_isa(level);
        for (DType dtype : kDTypes) {
            visit(dtype, [dtype](auto tag) {
                using T = typename decltype(tag)::type;
                for (size_t n : {0, 1, 7, 64, 1000, 1333}) {
                    std::vector<char> bytes(n * sizeof(T) + 1, '\0');
                    CHECK(all_finite(dtype, bytes.data() + 1, n));
                    if constexpr (!is_integer<T>) {
                        for (double special : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
                            for (size_t i = 0; i < n; i += 1 + n / 100) {
                                const T value = narrow<T>(special);
                                const T largest = narrow<T>(60000.0);
                                char* place = bytes.data() + 1 + i * sizeof(T);
                                std::memcpy(place, &value, sizeof value);
                                CHECK(!all_finite(dtype, bytes.data() + 1, n));
                                std::memcpy(place, &largest, sizeof value);
                                CHECK(all_finite(dtype, bytes.data() + 1, n));
                            }
                        }
                    } else {
                        std::fill(bytes.begin(), bytes.end(), '\1');
                        CHECK(all_finite(dtype, bytes.data() + 1, n));
                    }
                }
            });
        }
    }
    set_isa(best_isa());
}

TEST(what_cannot_be_reduced_is_refused) {
    const float x = 0;
    const void* src[] = {&x};
    float y;
    void* dst[] = {&y};
    const auto call = [&](DType in, DType out, Op op, int nsrc = 1, int ndst = 1, int64_t divisor = 1) {
        reduce(in, out, op, src, nsrc, dst, ndst, 1, divisor);
    };
    CHECK_THROWS(call(DType::int32, DType::float32, Op::sum), std::invalid_argument, "float32");
    CHECK_THROWS(call(DType::float16, DType::bfloat16, Op::sum), std::invalid_argument, "bfloat16");
    CHECK_THROWS(call(DType::int32, DType::int32, Op::mean), std::invalid_argument, "got mean");
    CHECK_THROWS(call(DType::boolean, DType::boolean, Op::sum), std::invalid_argument, "got sum");
    CHECK_THROWS(call(DType::float32, DType::float32, Op::sum, 0), std::invalid_argument, "nsrc >= 1");
    CHECK_THROWS(call(DType::float32, DType::float32, Op::sum, 1, -1), std::invalid_argument, "ndst >= 0");
    CHECK_THROWS(call(DType::float32, DType::float32, Op::mean, 1, 1, 0), std::invalid_argument,
                 "divisor >= 1");
}

TEST(accumulators) {
    CHECK(accumulator(DType::float16) == DType::float32);
    CHECK(accumulator(DType::bfloat16) == DType::float32);
    CHECK(accumulator(DType::float64) == DType::float64);
    CHECK(accumulator(DType::int8) == DType::int8);
}
