// Chains of dense layers.
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/quick_model.h"
#include "kernels/dense/dense.h"

namespace pyscale {

namespace {

using dense::Activation;
using dense::Dense;
using dense::Input;
using dense::WeightType;

constexpr double kReleaseWork = 1e6;  // multiplications, about 20 us, from which Python's lock is given up

struct PyDense {
    static constexpr const char* kName = "pyscale.dense";

    explicit PyDense(size_t features) : model(features) {}

    Dense model;
    int threads = 1;                 // where a caller does not say
    bool flat = false;               // one output is one axis
    bool values = false;             // predict gives the outputs
    bool outputs_are_proba = false;  // predict_proba gives the outputs
};

int64_t columns_of(const PyDense& self) { return static_cast<int64_t>(self.model.features()); }

template <class T>
const T* elements(const py::object& value, const char* name, size_t count) {
    if (!py::isinstance<py::array_t<T, py::array::c_style>>(value)) {
        throw py::type_error(std::string(name) + ": expected a contiguous array of another type");
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (static_cast<size_t>(array.size()) != count) {
        throw py::value_error(std::string(name) + ": expected " + std::to_string(count) + " elements, got " +
                              std::to_string(array.size()));
    }
    return static_cast<const T*>(array.data());
}

void add_linear(PyDense& self, const py::array_t<float, py::array::c_style>& weights, const py::object& bias,
                const std::string& type) {
    if (weights.ndim() != 2) throw py::value_error("weights: expected outputs x inputs");
    const auto outputs = static_cast<size_t>(weights.shape(0)),
               inputs = static_cast<size_t>(weights.shape(1));
    const float* const from = bias.is_none() ? nullptr : elements<float>(bias, "bias", outputs);
    const float* const data = weights.data();
    py::gil_scoped_release release;
    self.model.add_linear(data, from, inputs, outputs,
                          type == "bfloat16" ? WeightType::bfloat16 : WeightType::float32);
}

// Weights are whole numbers times an output's scale; without a scale for the inputs each row has its own.
void add_linear_int8(PyDense& self, const py::array_t<int8_t, py::array::c_style>& weights,
                     const py::object& scales, const py::object& bias, const py::object& input_scale,
                     int input_zero) {
    if (weights.ndim() != 2) throw py::value_error("weights: expected outputs x inputs");
    if (input_zero < 0 || input_zero > 255) throw py::value_error("input_zero: expected 0 to 255");
    const auto outputs = static_cast<size_t>(weights.shape(0)),
               inputs = static_cast<size_t>(weights.shape(1));
    dense::Levels levels;
    if (!input_scale.is_none()) {
        const auto scale = input_scale.cast<float>();
        levels = {scale, 1.0f / scale, input_zero};
    }
    const float* const each = elements<float>(scales, "scales", outputs);
    const float* const from = elements<float>(bias, "bias", outputs);
    const int8_t* const data = weights.data();
    py::gil_scoped_release release;
    self.model.add_linear_int8(data, each, from, inputs, outputs, levels);
}

void add_activation(PyDense& self, const std::string& name, float parameter) {
    static const std::pair<const char*, Activation> known[] = {
        {"identity", Activation::identity},
        {"relu", Activation::relu},
        {"leaky_relu", Activation::leaky_relu},
        {"elu", Activation::elu},
        {"gelu", Activation::gelu},
        {"gelu_tanh", Activation::gelu_tanh},
        {"silu", Activation::silu},
        {"tanh", Activation::tanh},
        {"sigmoid", Activation::sigmoid},
    };
    if (name == "softmax") return self.model.add_softmax();
    for (const auto& [text, value] : known) {
        if (name == text) return self.model.add_activation(value, parameter);
    }
    throw py::value_error("activation: expected a known one, got " + name);
}

void add_affine(PyDense& self, const py::object& scale, const py::object& shift) {
    const size_t size = self.model.outputs();
    self.model.add_affine(elements<double>(scale, "scale", size), elements<double>(shift, "shift", size),
                          size);
}

void add_layer_norm(PyDense& self, const py::object& scale, const py::object& shift, double epsilon) {
    const size_t size = self.model.outputs();
    self.model.add_layer_norm(elements<double>(scale, "scale", size), elements<double>(shift, "shift", size),
                              size, epsilon);
}

py::object empty(const PyDense& self, size_t rows) {
    const size_t columns = self.model.outputs();
    return fresh_answer(DType::float32, rows, columns, self.flat && columns == 1);
}

void run(const PyDense& self, const Input& input, size_t rows, float* out, int num_threads) {
    Gil gil;
    if (self.model.work() * static_cast<double>(rows) > kReleaseWork) gil.release();
    self.model.predict(input, rows, out, num_threads);
}

py::object answer(const PyDense& self, const py::array& x, const py::object& out, int num_threads) {
    const auto input = require_rows<Input>(x, columns_of(self));
    const auto rows = static_cast<size_t>(x.shape(0));
    py::object result = out.is_none() ? empty(self, rows) : out;
    const Raw raw = Raw::require(result, "out", true);
    if (raw.dtype != DType::float32 || raw.count != rows * self.model.outputs()) {
        throw py::value_error("out: expected rows x outputs of float32");
    }
    run(self, input, rows, static_cast<float*>(raw.data), num_threads);
    return result;
}

// The short way, where the outputs are the answer and X is a plain array.
PyObject* short_method(bool proba, PyObject* checked_name, PyObject* self, PyObject* const* args,
                       Py_ssize_t count, PyObject* keywords) {
    return call_quick<PyDense>(
        checked_name, self, args, count, keywords, [&](const PyDense& model, py::handle x) -> py::object {
            if (!(proba ? model.outputs_are_proba : model.values)) return {};
            const std::optional<Input> input = plain_rows<Input>(x, columns_of(model));
            if (!input) return {};
            const auto rows = static_cast<size_t>(py::detail::array_proxy(x.ptr())->dimensions[0]);
            py::object out = empty(model, rows);
            auto* const data = reinterpret_cast<float*>(py::detail::array_proxy(out.ptr())->data);
            run(model, *input, rows, data, model.threads);
            return out;
        });
}

PyObject* predict_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const checked = PyUnicode_InternFromString("_predict_checked");
    return short_method(false, checked, self, args, count, keywords);
}

PyObject* proba_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const checked = PyUnicode_InternFromString("_predict_proba_checked");
    return short_method(true, checked, self, args, count, keywords);
}

void shorten_dense(const py::type& type) {
    constexpr const char* kSignature = "($self, X, *, num_threads=None, out=None)";
    shorten<predict_method>(type, "predict", kSignature);
    shorten<proba_method>(type, "predict_proba", kSignature);
}

// f of each element, in place.
void apply_function(const std::string& name, float parameter, const py::array_t<float>& values) {
    PyDense one(static_cast<size_t>(values.size()));
    add_activation(one, name, parameter);
    const Raw raw = Raw::require(values, "values", true);
    auto* const data = static_cast<float*>(raw.data);
    const Input input{static_cast<const char*>(raw.data), static_cast<py::ssize_t>(raw.bytes()),
                      sizeof(float), false};
    one.model.predict(input, 1, data, 1);
}

}  // namespace

void bind_dense(py::module_& m) {
    py::class_<PyDense>(m, "Dense")
        .def(py::init<size_t>(), py::arg("features"))
        .def_property_readonly("outputs", [](const PyDense& self) { return self.model.outputs(); })
        .def_property_readonly("weight_bytes", [](const PyDense& self) { return self.model.weight_bytes(); })
        .def_readwrite("threads", &PyDense::threads)
        .def_readwrite("flat", &PyDense::flat)
        .def_readwrite("values", &PyDense::values)
        .def_readwrite("outputs_are_proba", &PyDense::outputs_are_proba)
        .def("add_linear", &add_linear, py::arg("weights"), py::arg("bias"), py::arg("type"))
        .def("add_linear_int8", &add_linear_int8, py::arg("weights"), py::arg("scales"), py::arg("bias"),
             py::arg("input_scale"), py::arg("input_zero"))
        .def("add_activation", &add_activation, py::arg("name"), py::arg("parameter"))
        .def("add_affine", &add_affine, py::arg("scale"), py::arg("shift"))
        .def("add_layer_norm", &add_layer_norm, py::arg("scale"), py::arg("shift"), py::arg("epsilon"))
        .def("answer", &answer, py::arg("x"), py::arg("out"), py::arg("num_threads"));
    m.def("apply_function", &apply_function, py::arg("name"), py::arg("parameter"), py::arg("values"));
    m.def("shorten_dense", &shorten_dense, py::arg("type"));
    m.def("capsule_of_dense", &capsule_of_model<PyDense>, py::arg("model"));
}

}  // namespace pyscale
