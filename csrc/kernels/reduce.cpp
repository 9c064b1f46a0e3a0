#include "kernels/reduce.h"

#include <string>
#include <type_traits>

#include "core/errors.h"
#include "core/isa.h"

namespace pyscale {
namespace {

using FoldKernel = void (*)(const void* const* src, int nsrc, void* const* dst, int ndst, size_t n,
                            int64_t count);

template <class T>
constexpr bool is_half = std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;
template <class T>
constexpr bool is_float = is_half<T> || std::is_floating_point_v<T>;

template <class In, class Out>
constexpr bool are_convertible =
    std::is_same_v<In, Out> || (is_float<In> && is_float<Out> && !(is_half<In> && is_half<Out>));

// The wider of the accumulators of two floats.
template <class In, class Out>
using Arithmetic =
    std::conditional_t<std::is_same_v<In, double> || std::is_same_v<Out, double>, double, float>;

}  // namespace
}  // namespace pyscale

#define PYSCALE_ISA_INC "kernels/reduce.inc"
#include "core/for_each_isa.h"

namespace pyscale {

const char* name(Op op) {
    switch (op) {
        case Op::sum: return "sum";
        case Op::mean: return "mean";
        case Op::min: return "min";
        case Op::max: return "max";
        case Op::prod: return "prod";
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
    return visit(in, [out](auto in_tag) {
        using In = typename decltype(in_tag)::type;
        return visit(out, [](auto out_tag) { return are_convertible<In, typename decltype(out_tag)::type>; });
    });
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
    PYSCALE_PICK_ISA(find_fold)(in, out, op)(src, nsrc, dst, ndst, n, divisor);
}

bool all_finite(DType dtype, const void* data, size_t n) {
    return PYSCALE_PICK_ISA(all_finite_floats)(dtype, static_cast<const char*>(data), n);
}

}  // namespace pyscale
