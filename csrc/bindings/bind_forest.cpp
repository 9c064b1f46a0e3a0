// Decision trees.
#include <pybind11/stl.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/py_forest.h"
#include "bindings/quick_model.h"

namespace pyscale {

namespace {

using forest::Engine;
using forest::Forest;
using forest::Input;
using forest::Trees;
using Answer = PyForest::Answer;

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
std::unique_ptr<PyForest> make(const py::dict& arrays, const py::dict& known, int num_threads) {
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
        trees.zero_is_missing =
            reinterpret_cast<const uint8_t*>(elements<bool>(arrays, "zero_is_missing", nodes));
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
    trees.whole_categories = arrays["whole_categories"].cast<bool>();
    const auto values = py::reinterpret_borrow<py::array>(arrays["values"]);
    if (values.ndim() != 2) throw py::value_error("values: expected leaves x width");
    trees.leaves = static_cast<size_t>(values.shape(0));
    trees.width = static_cast<int32_t>(values.shape(1));
    trees.values = elements<double>(arrays, "values", -1);
    trees.base = elements<double>(arrays, "base", trees.outputs);
    trees.base_last = arrays["base_last"].cast<bool>();
    if (!arrays["linear"].is_none()) {
        const auto linear = arrays["linear"].cast<py::dict>();
        const auto leaves = static_cast<py::ssize_t>(trees.leaves);
        trees.linear_constant = elements<double>(linear, "constant", leaves);
        trees.linear_first = elements<int64_t>(linear, "first", leaves + 1);
        trees.linear_feature = elements<int32_t>(linear, "feature", -1);
        trees.linear_terms = size_of(linear, "feature");
        trees.linear_coefficient =
            elements<double>(linear, "coefficient", static_cast<py::ssize_t>(trees.linear_terms));
    }
    py::gil_scoped_release release;
    return std::make_unique<PyForest>(trees, num_threads);
}

constexpr std::pair<const char*, Engine> kEngines[] = {
    {"masks", Engine::masks}, {"hybrid", Engine::hybrid}, {"walk", Engine::walk}};

Engine engine_of(const std::string& name) {
    if (name.empty()) return Engine::choose;
    for (const auto& [text, engine] : kEngines) {
        if (name == text) return engine;
    }
    throw py::value_error("engine: expected masks, hybrid or walk, got " + name);
}

Answer answer_of(const std::string& name) {
    if (name == "raw") return Answer::raw;
    if (name == "linked") return Answer::linked;
    if (name == "proba") return Answer::proba;
    throw py::value_error("what: expected raw, linked or proba");
}

void check_range(const Forest& self, size_t begin, size_t end) {
    if (begin > end || end > self.trees())
        throw py::value_error("trees: expected 0 <= begin <= end <= trees");
}

py::object answer(const PyForest& self, const py::array& x, const py::object& out, const std::string& what,
                  size_t begin, size_t end, int num_threads, const std::string& engine) {
    const auto input = require_rows<Input>(x, self.forest.features());
    check_range(self.forest, begin, end);
    const auto rows = static_cast<size_t>(x.shape(0));
    const Answer which = answer_of(what);
    py::object result = out.is_none() ? self.empty(which, rows) : out;
    const Raw raw = Raw::require(result, "out", true);
    if (raw.dtype != self.dtype() || raw.count != rows * self.columns(which)) {
        throw py::value_error("out: expected rows x outputs of the type of the sums");
    }
    self.run(input, rows, begin, end, which, raw.data, num_threads, engine_of(engine));
    return result;
}

py::tuple shape(const PyForest& self, size_t rows, const std::string& what) {
    const size_t columns = self.columns(answer_of(what));
    if (columns == 1) return py::make_tuple(rows);
    return py::make_tuple(rows, columns);
}

py::array_t<int32_t> leaves(const PyForest& wrapped, const py::array& x, size_t begin, size_t end,
                            int num_threads) {
    const Forest& self = wrapped.forest;
    const auto input = require_rows<Input>(x, self.features());
    check_range(self, begin, end);
    py::array_t<int32_t> out({x.shape(0), static_cast<py::ssize_t>(end - begin)});
    int32_t* const data = out.mutable_data();
    const auto rows = static_cast<size_t>(x.shape(0));
    py::gil_scoped_release release;
    self.leaves(input, rows, begin, end, data, num_threads);
    return out;
}

py::dict costs(const PyForest& wrapped) {
    const Forest::Costs& costs = wrapped.forest.costs();
    py::dict out;
    out["large_block"] = costs.large_block;
    out["small_block"] = costs.small_block;
    out["hybrid"] = costs.hybrid;
    out["group"] = costs.group;
    out["row"] = costs.row;
    return out;
}

void set_link(PyForest& self, const std::string& name, double divisor, double scale, size_t trees_per_round) {
    using Name = forest::Link::Name;
    static const std::pair<const char*, Name> names[] = {
        {"identity", Name::identity}, {"logistic", Name::logistic},   {"softmax", Name::softmax},
        {"exp", Name::exp},           {"log1p_exp", Name::log1p_exp}, {"signed_square", Name::signed_square},
        {"step", Name::step},         {"argmax", Name::argmax},
    };
    for (const auto& [text, value] : names) {
        if (name == text) {
            self.link = {value, divisor, scale};
            self.trees_per_round = std::max<size_t>(trees_per_round, 1);
            return;
        }
    }
    throw py::value_error("link: expected one of those of pyscale.infer.forest.trees.Link, got " + name);
}

}  // namespace

void bind_forest(py::module_& m) {
    py::class_<PyForest>(m, "Forest")
        .def(py::init(&make), py::arg("arrays"), py::arg("known_categories"), py::arg("num_threads"))
        .def_property_readonly("has_masks", [](const PyForest& self) { return self.forest.has_masks(); })
        .def_property_readonly("has_hybrid", [](const PyForest& self) { return self.forest.has_hybrid(); })
        .def("set_link", &set_link, py::arg("name"), py::arg("divisor"), py::arg("scale"),
             py::arg("trees_per_round"))
        .def_readwrite("gives_labels", &PyForest::gives_labels)
        .def_readwrite("classifies", &PyForest::classifies)
        .def("calibrate",
             [](PyForest& self) {
                 py::gil_scoped_release release;
                 self.forest.set_costs(self.forest.calibrate());
             })
        .def("costs", &costs)
        .def(
            "engine_for",
            [](const PyForest& self, size_t rows) {
                const Engine chosen = self.forest.engine_for(rows);
                const auto* const found =
                    std::find_if(std::begin(kEngines), std::end(kEngines),
                                 [&](const auto& named) { return named.second == chosen; });
                return found->first;
            },
            py::arg("rows"))
        .def("shape", &shape, py::arg("rows"), py::arg("what"))
        .def("answer", &answer, py::arg("x"), py::arg("out"), py::arg("what"), py::arg("begin"),
             py::arg("end"), py::arg("num_threads"), py::arg("engine") = "")
        .def("leaves", &leaves, py::arg("x"), py::arg("begin"), py::arg("end"), py::arg("num_threads"));
    bind_forest_methods(m);
}

}  // namespace pyscale
