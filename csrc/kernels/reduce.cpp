#include "kernels/reduce.h"

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/errors.h"

namespace pyscale {
namespace {

template <class A, class T>
A widen(T x) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
        return static_cast<A>(to_float(x));
    } else {
        return static_cast<A>(x);
    }
}
template <class T, class A>
T narrow(A x) {
    if constexpr (std::is_same_v<T, Half>) {
        return to_half(x);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
        return to_bfloat16(x);
    } else {
        return static_cast<T>(x);
    }
}

template <class In, class Out, class A>
void fold(Op op, const void* const* src, int nsrc, void* const* dst, int ndst, size_t n, int64_t divisor) {
    for (size_t i = 0; i < n; ++i) {
        const auto at = [&](int s) { return widen<A>(static_cast<const In*>(src[s])[i]); };
        const auto sum = [&](A scale) {
            A acc = at(0) * scale;
            for (int s = 1; s < nsrc; ++s) {
                acc = acc + at(s) * scale;
            }
            return acc;
        };
        A acc = at(0);
        for (int s = 1; s < nsrc && op != Op::mean; ++s) {
            const A x = at(s);
            if (op == Op::sum) {
                if constexpr (std::is_integral_v<A>) {
                    acc = static_cast<A>(static_cast<uint64_t>(acc) + static_cast<uint64_t>(x));
                } else {
                    acc += x;
                }
            } else if (op == Op::prod) {
                if constexpr (std::is_integral_v<A>) {
                    acc = static_cast<A>(static_cast<uint64_t>(acc) * static_cast<uint64_t>(x));
                } else {
                    acc *= x;
                }
            } else if (op == Op::min) {
                acc = acc < x || acc != acc ? acc : x;
            } else {
                acc = acc > x || acc != acc ? acc : x;
            }
        }
        if constexpr (std::is_floating_point_v<A>) {
            if (op == Op::mean) {
                acc = sum(1) / static_cast<A>(divisor);
                if (!std::isfinite(acc)) {
                    const A scale = std::exp2(-std::ceil(std::log2(static_cast<A>(divisor))));
                    acc = sum(scale) / (static_cast<A>(divisor) * scale);
                }
            }
            if (acc != acc) {
                acc = std::numeric_limits<A>::quiet_NaN();
            }
        }
        for (int d = 0; d < ndst; ++d) {
            static_cast<Out*>(dst[d])[i] = narrow<Out>(acc);
        }
    }
}

}  // namespace

const char* name(Op op) {
    switch (op) {
        case Op::sum:
            return "sum";
        case Op::mean:
            return "mean";
        case Op::min:
            return "min";
        case Op::max:
            return "max";
        case Op::prod:
            return "prod";
    }
    return "unknown";
}

bool reducible(DType dtype, Op op) {
    if (dtype == DType::boolean) {
        return op == Op::min || op == Op::max;
    }
    return op != Op::mean || is_floating(dtype);
}

DType accumulator(DType dtype) {
    return dtype == DType::float16 || dtype == DType::bfloat16 ? DType::float32 : dtype;
}

bool convertible(DType in, DType out) {
    const auto wide = [](DType dtype) { return dtype == DType::float32 || dtype == DType::float64; };
    return in == out || (is_floating(in) && is_floating(out) && (wide(in) || wide(out)));
}

void reduce(DType in, DType out, Op op, const void* const* src, int nsrc, void* const* dst, int ndst,
            size_t n, int64_t divisor) {
    if (!convertible(in, out)) {
        throw_expected("reduce: out", std::string("a dtype that ") + name(in) + " is converted to",
                       name(out));
    }
    if (!reducible(in, op)) {
        throw_expected("reduce: op", std::string("one that ") + name(in) + " has", name(op));
    }
    if (nsrc < 1 || ndst < 0 || divisor < 1) {
        throw_expected("reduce", "nsrc >= 1, ndst >= 0, divisor >= 1",
                       std::to_string(nsrc) + ", " + std::to_string(ndst) + ", " + std::to_string(divisor));
    }
    visit(in, [&](auto in_tag) {
        visit(out, [&](auto out_tag) {
            using In = typename decltype(in_tag)::type;
            using Out = typename decltype(out_tag)::type;
            constexpr bool floats = !std::is_integral_v<In> && !std::is_integral_v<Out>;
            if constexpr (floats) {
                using A = std::conditional_t<std::is_same_v<In, double> || std::is_same_v<Out, double>,
                                             double, float>;
                fold<In, Out, A>(op, src, nsrc, dst, ndst, n, divisor);
            } else if constexpr (std::is_same_v<In, Out>) {
                fold<In, Out, In>(op, src, nsrc, dst, ndst, n, divisor);
            }
        });
    });
}

bool all_finite(DType dtype, const void* data, size_t n) {
    return visit(dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        if constexpr (!std::is_integral_v<T>) {
            const T* values = static_cast<const T*>(data);
            for (size_t i = 0; i < n; ++i) {
                if (!std::isfinite(widen<double>(values[i]))) {
                    return false;
                }
            }
        }
        return true;
    });
}

}  // namespace pyscale
