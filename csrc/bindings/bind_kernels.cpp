// The kernels on NumPy arrays.
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/ops.h"
#include "kernels/reduce.h"

namespace pyscale {

namespace {

void fold(const std::string& op, const py::list& sources, const py::handle& out, int64_t divisor) {
    const Raw to = Raw::require(out, "out", true);
    std::vector<const void*> from;
    DType dtype = to.dtype;
    for (const py::handle source : sources) {
        const Raw raw = Raw::require(source, "sources", false);
        if (raw.count != to.count || (!from.empty() && raw.dtype != dtype)) {
            throw py::value_error("sources: expected arrays of one dtype and of out's size");
        }
        dtype = raw.dtype;
        from.push_back(raw.data);
    }
    void* destination = to.data;
    Gil gil;
    if (to.bytes() > kReleaseBytes) gil.release();
    reduce(dtype, to.dtype, parse_op(op), from.data(), static_cast<int>(from.size()), &destination, 1,
           to.count, divisor);
}

}  // namespace

void bind_kernels(py::module_& m) {
    m.def(
        "register_bfloat16", [](const py::dtype& dtype) { bfloat16_type_number() = dtype.num(); },
        py::arg("dtype"));
    m.def("fold", &fold, py::arg("op"), py::arg("sources"), py::arg("out"), py::arg("divisor") = 1);
    m.def(
        "all_finite",
        [](const py::handle& x) {
            const Raw raw = Raw::require(x, "x", false);
            return all_finite(raw.dtype, raw.data, raw.count);
        },
        py::arg("x"));
    m.def(
        "reducible",
        [](const std::string& dtype, const std::string& op) {
            for (const DType known : kDTypes) {
                if (dtype == name(known)) return reducible(known, parse_op(op));
            }
            throw py::value_error("dtype: expected the name of a supported dtype, got " + dtype);
        },
        py::arg("dtype"), py::arg("op"));
}

}  // namespace pyscale
