// Bags of rows of a table.
#include <cstring>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/rows.h"
#include "kernels/embedding/embedding.h"

namespace pyscale {

namespace {

using embedding::Bags;
using embedding::Mode;
using embedding::Table;

std::unique_ptr<Table> make(const py::object& rows) {
    const Raw raw = Raw::require(rows, "table", false);
    if (raw.ndim != 2) throw py::value_error("table: expected rows x columns");
    const auto count = static_cast<size_t>(raw.shape[0]), width = static_cast<size_t>(raw.shape[1]);
    py::gil_scoped_release release;
    return std::make_unique<Table>(raw.data, count, width, raw.dtype);
}

void copy_rows(const Table& self, const py::object& out) {
    const Raw raw = Raw::require(out, "out", self.dtype(), self.count() * self.width(), true);
    py::gil_scoped_release release;
    std::memcpy(raw.data, self.data(), self.bytes());
}

// Throws, unless the bags are one after the other in the indices.
void check_offsets(const int64_t* offsets, size_t count, size_t indices) {
    int64_t last = 0;
    for (size_t i = 0; i < count; ++i) {
        if ((i == 0 && offsets[i] != 0) || offsets[i] < last || offsets[i] > static_cast<int64_t>(indices)) {
            const std::string least = std::to_string(last);
            throw py::value_error("offsets: expected " +
                                  (i == 0 ? "0" : least + " to " + std::to_string(indices)) + ", got " +
                                  std::to_string(offsets[i]) + " at position " + std::to_string(i));
        }
        last = offsets[i];
    }
}

void reduce(const Table& self, const py::array& indices, const py::object& offsets, size_t count,
            const py::object& weights, const std::string& mode, int64_t padding, const py::object& out,
            int num_threads) {
    Bags bags{};
    bags.indices = indices_of(indices);
    bags.count = count;
    bags.padding = padding;
    if (offsets.is_none()) {
        bags.each = count > 0 ? bags.indices.count / count : 0;
        if (bags.each * count != bags.indices.count) throw py::value_error("indices: expected as many a bag");
    } else {
        // One more than bags says where the last one ends.
        const Raw raw = Raw::require(offsets, "offsets", false);
        if (raw.dtype != DType::int64 || raw.count < count || raw.count > count + 1) {
            throw py::value_error("offsets: expected as many int64 as bags, or one more");
        }
        bags.offsets = static_cast<const int64_t*>(raw.data);
        check_offsets(bags.offsets, raw.count, bags.indices.count);
        bags.end = raw.count > count ? static_cast<size_t>(bags.offsets[count]) : bags.indices.count;
    }
    if (!weights.is_none()) {
        const Raw raw =
            Raw::require(weights, "per_sample_weights", DType::float32, bags.indices.count, false);
        bags.weights = static_cast<const float*>(raw.data);
    }
    const Raw to = Raw::require(out, "out", DType::float32, count * self.width(), true);
    Gil gil;
    if (bags.indices.count * self.width() * sizeof(float) + to.bytes() > kReleaseBytes) gil.release();
    check(bags.indices, static_cast<int64_t>(self.count()), num_threads, gil);
    self.reduce(bags,
                mode == "max"    ? Mode::max
                : mode == "mean" ? Mode::mean
                                 : Mode::sum,
                static_cast<float*>(to.data), num_threads);
}

}  // namespace

void bind_embedding(py::module_& m) {
    py::class_<Table>(m, "EmbeddingTable")
        .def(py::init(&make), py::arg("rows"))
        .def("copy_rows", &copy_rows, py::arg("out"))
        .def("reduce", &reduce, py::arg("indices"), py::arg("offsets"), py::arg("count"), py::arg("weights"),
             py::arg("mode"), py::arg("padding"), py::arg("out"), py::arg("num_threads"));
}

}  // namespace pyscale
