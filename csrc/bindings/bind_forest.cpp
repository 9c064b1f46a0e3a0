// Decision trees.
#include <pybind11/stl.h>

#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/forest/forest.h"

namespace pyscale {

namespace {

using forest::Engine;
using forest::Forest;
using forest::Input;
using forest::Trees;

// The elements of a contiguous array of T with `count` elements; any number of them where that is negative.
template <class T>
const T* elements(const py::dict& arrays, const char* name, py::ssize_t count) {
    const py::object value = arrays[name];
    if (!py::isinstance<py::array_t<T, py::array::c_style>>(value)) {
        throw py::type_error(std::string(name) + ": expected a contiguous array of another type");
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (count >= 0 && array.size() != count) {
        throw py::value_error(std::string(name) + ": expected " + std::to_string(count) + " elements, got " +
                              std::to_string(array.size()));
    }
    return static_cast<const T*>(array.data());
}

size_t size_of(const py::dict& arrays, const char* name) {
    return static_cast<size_t>(py::reinterpret_borrow<py::array>(arrays[name]).size());
}

// From the attributes of pyscale.infer.forest.trees.Trees.
std::unique_ptr<Forest> make(const py::dict& arrays, const py::dict& known) {
    Trees trees{};
    trees.features = arrays["num_features"].cast<int64_t>();
    trees.outputs = arrays["num_outputs"].cast<int32_t>();
    trees.narrow = arrays["precision"].cast<std::string>() == "float32";
    trees.narrow_sums = arrays["sums"].cast<std::string>() == "float32";
    trees.count = size_of(arrays, "output");
    trees.nodes = size_of(arrays, "feature");
    const auto nodes = static_cast<py::ssize_t>(trees.nodes);
    trees.first = elements<int64_t>(arrays, "first", static_cast<py::ssize_t>(trees.count) + 1);
    trees.output = elements<int32_t>(arrays, "output", -1);
    trees.feature = elements<int32_t>(arrays, "feature", -1);
    trees.threshold = elements<double>(arrays, "threshold", nodes);
    trees.left = elements<int32_t>(arrays, "left", nodes);
    trees.right = elements<int32_t>(arrays, "right", nodes);
    trees.missing_left = reinterpret_cast<const uint8_t*>(elements<bool>(arrays, "missing_left", nodes));
    if (!arrays["zero_is_missing"].is_none()) {
        trees.zero_is_missing = reinterpret_cast<const uint8_t*>(elements<bool>(arrays, "zero_is_missing", nodes));
    }
    if (!arrays["category_set"].is_none()) {
        trees.category_set = elements<int32_t>(arrays, "category_set", nodes);
        if (size_of(arrays, "set_first") == 0) throw py::value_error("set_first: expected sets + 1 elements");
        trees.sets = size_of(arrays, "set_first") - 1;
        trees.set_first = elements<int64_t>(arrays, "set_first", -1);
        trees.set_values = elements<int32_t>(arrays, "set_values", -1);
        if (trees.set_first[trees.sets] != static_cast<int64_t>(size_of(arrays, "set_values"))) {
            throw py::value_error("set_first: expected the number of set_values last");
        }
    }
    for (const auto& [feature, categories] : known) {
        trees.known.push_back({feature.cast<int32_t>(), categories.cast<std::vector<int32_t>>()});
    }
    trees.negative_fractions = arrays["negative_fractions"].cast<bool>();
    const auto values = py::reinterpret_borrow<py::array>(arrays["values"]);
    if (values.ndim() != 2) throw py::value_error("values: expected leaves x width");
    trees.leaves = static_cast<size_t>(values.shape(0));
    trees.width = static_cast<int32_t>(values.shape(1));
    trees.values = elements<double>(arrays, "values", -1);
    trees.base = elements<double>(arrays, "base", trees.outputs);
    py::gil_scoped_release release;
    return std::make_unique<Forest>(trees);
}

Engine engine_of(const std::string& name) {
    if (name == "masks") return Engine::masks;
    if (name == "walk") return Engine::walk;
    return Engine::choose;
}

Input input_of(const Forest& self, const py::array& x) {
    const std::optional<DType> dtype = dtype_of(py::detail::array_descriptor_proxy(x.dtype().ptr())->type_num);
    if (x.ndim() != 2 || x.shape(1) != self.features() || !dtype ||
        (*dtype != DType::float32 && *dtype != DType::float64)) {
        throw py::value_error("X: expected rows x " + std::to_string(self.features()) + " float32 or float64");
    }
    return {static_cast<const char*>(x.data()), x.strides(0), x.strides(1), *dtype == DType::float64};
}

void check_range(const Forest& self, size_t begin, size_t end) {
    if (begin > end || end > self.trees()) throw py::value_error("trees: expected 0 <= begin <= end <= trees");
}

void predict(const Forest& self, const py::array& x, py::array& out, size_t begin, size_t end, int num_threads,
             const std::string& engine) {
    const Input input = input_of(self, x);
    check_range(self, begin, end);
    const Raw raw = Raw::require(out, "out", true);
    const auto rows = static_cast<size_t>(x.shape(0));
    const DType wanted = self.narrow_sums() ? DType::float32 : DType::float64;
    if (raw.dtype != wanted || raw.count != rows * static_cast<size_t>(self.outputs())) {
        throw py::value_error("out: expected rows x outputs of the type of the sums");
    }
    py::gil_scoped_release release;
    self.predict(input, rows, begin, end, raw.data, num_threads, engine_of(engine));
}

py::array_t<int32_t> leaves(const Forest& self, const py::array& x, size_t begin, size_t end, int num_threads) {
    const Input input = input_of(self, x);
    check_range(self, begin, end);
    py::array_t<int32_t> out({x.shape(0), static_cast<py::ssize_t>(end - begin)});
    int32_t* const data = out.mutable_data();
    const auto rows = static_cast<size_t>(x.shape(0));
    py::gil_scoped_release release;
    self.leaves(input, rows, begin, end, data, num_threads);
    return out;
}

py::dict costs(const Forest& self) {
    py::dict out;
    out["large_block"] = self.costs().large_block;
    out["small_block"] = self.costs().small_block;
    out["group"] = self.costs().group;
    out["row"] = self.costs().row;
    return out;
}

}  // namespace

void bind_forest(py::module_& m) {
    py::class_<Forest>(m, "Forest")
        .def(py::init(&make), py::arg("arrays"), py::arg("known_categories"))
        .def_property_readonly("has_masks", &Forest::has_masks)
        .def("calibrate",
             [](Forest& self) {
                 py::gil_scoped_release release;
                 self.set_costs(self.calibrate());
             })
        .def("costs", &costs)
        .def("predict", &predict, py::arg("x"), py::arg("out"), py::arg("begin"), py::arg("end"),
             py::arg("num_threads"), py::arg("engine"))
        .def("leaves", &leaves, py::arg("x"), py::arg("begin"), py::arg("end"), py::arg("num_threads"));
}

}  // namespace pyscale
