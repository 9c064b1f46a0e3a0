// The best rows of a matrix.
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/topk/topk.h"

namespace pyscale {

namespace {

using topk::Metric;
using topk::TopK;

constexpr double kReleaseWork = 1e6;  // multiplications, about 20 us, from which Python's lock is given up

std::unique_ptr<TopK> make(const py::object& matrix, const std::string& metric, bool unit) {
    const Raw raw = Raw::require(matrix, "matrix", false);
    if (raw.dtype != DType::float32 || raw.ndim != 2) {
        throw py::value_error("matrix: expected rows x columns of float32");
    }
    const auto rows = static_cast<size_t>(raw.shape[0]), columns = static_cast<size_t>(raw.shape[1]);
    py::gil_scoped_release release;
    return std::make_unique<TopK>(static_cast<const float*>(raw.data), rows, columns,
                                  metric == "l2"       ? Metric::l2
                                  : metric == "cosine" ? Metric::cosine
                                                       : Metric::inner_product,
                                  unit);
}

void copy_rows(const TopK& self, const py::object& out) {
    const Raw raw = Raw::require(out, "out", DType::float32, self.count() * self.width(), true);
    py::gil_scoped_release release;
    self.copy_rows(static_cast<float*>(raw.data));
}

void search(const TopK& self, const py::object& queries, size_t k, const py::object& ids,
            const py::object& scores, const py::object& indices, int num_threads) {
    const Raw from = Raw::require(queries, "queries", false);
    const size_t number = from.count / self.width();
    if (k < 1 || k > self.count()) throw py::value_error("k: expected 1 to the number of rows");
    if (from.dtype != DType::float32 || from.count % self.width() != 0) {
        throw py::value_error("queries: expected rows x columns of float32");
    }
    const int64_t* names = nullptr;
    if (!ids.is_none()) {
        names = static_cast<const int64_t*>(Raw::require(ids, "ids", DType::int64, self.count(), false).data);
    }
    const Raw to = Raw::require(scores, "scores", DType::float32, number * k, true);
    const Raw rows = Raw::require(indices, "indices", DType::int64, number * k, true);
    Gil gil;
    if (static_cast<double>(from.count) * static_cast<double>(self.count()) > kReleaseWork) gil.release();
    self.search(static_cast<const float*>(from.data), number, k, names, static_cast<float*>(to.data),
                static_cast<int64_t*>(rows.data), num_threads);
}

}  // namespace

void bind_topk(py::module_& m) {
    py::class_<TopK>(m, "TopK")
        .def(py::init(&make), py::arg("matrix"), py::arg("metric"), py::arg("unit"))
        .def_property_readonly("count", &TopK::count)
        .def_property_readonly("width", &TopK::width)
        .def_property_readonly("bytes", &TopK::bytes)
        .def("copy_rows", &copy_rows, py::arg("out"))
        .def("search", &search, py::arg("queries"), py::arg("k"), py::arg("ids"), py::arg("scores"),
             py::arg("indices"), py::arg("num_threads"));
}

}  // namespace pyscale
