// Who gets which sample, by what it costs.
#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/balance.h"

namespace pyscale {

namespace {

py::tuple split(const py::array_t<double, py::array::c_style>& lengths, size_t num_ranks, double linear,
                double quadratic, bool equal_counts) {
    if (num_ranks == 0) throw py::value_error("balance: expected at least one rank, got 0");
    const auto n = static_cast<size_t>(lengths.size());
    py::array_t<int64_t> order(static_cast<py::ssize_t>(n));
    py::array_t<int64_t> offsets(static_cast<py::ssize_t>(num_ranks) + 1);
    const double* const from = lengths.data();
    int64_t *const to = order.mutable_data(), *const places = offsets.mutable_data();
    {
        Gil gil;
        gil.release();
        balance(from, n, num_ranks, linear, quadratic, equal_counts, to, places);
    }
    return py::make_tuple(order, offsets);
}

}  // namespace

void bind_balance(py::module_& m) {
    m.def("balance", &split, py::arg("lengths"), py::arg("num_ranks"), py::arg("linear"),
          py::arg("quadratic"), py::arg("equal_counts"));
}

}  // namespace pyscale
