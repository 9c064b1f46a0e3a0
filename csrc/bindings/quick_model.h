// What the models' methods in C have in common: rows in plain NumPy arrays, fresh arrays for answers, and the
// short way from `model.predict(X)` to the C++ model.
#pragma once

#include <cstdint>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/raise.h"
#include "bindings/shorten.h"

namespace pyscale {

// Rows of float32 or float64 in a plain array, of so many columns, aligned; none of all else.
template <class Input>
std::optional<Input> plain_rows(py::handle x, int64_t columns) {
    using Api = py::detail::npy_api;
    if (Py_TYPE(x.ptr()) != Api::get().PyArray_Type_) return std::nullopt;
    const auto* array = py::detail::array_proxy(x.ptr());
    const auto* descr = py::detail::array_descriptor_proxy(array->descr);
    const bool wide = descr->type_num == Api::NPY_DOUBLE_;
    if (array->nd != 2 || array->dimensions[1] != columns || descr->byteorder == '>' ||
        (array->flags & Api::NPY_ARRAY_ALIGNED_) == 0 || (!wide && descr->type_num != Api::NPY_FLOAT_)) {
        return std::nullopt;
    }
    return Input{array->data, array->strides[0], array->strides[1], wide};
}

template <class Input>
Input require_rows(py::handle x, int64_t columns) {
    const std::optional<Input> input = plain_rows<Input>(x, columns);
    if (!input) {
        throw py::value_error("X: expected rows x " + std::to_string(columns) + " float32 or float64");
    }
    return *input;
}

// A fresh array of rows x columns, or of rows alone where it is `flat`.
inline py::object fresh_answer(DType dtype, size_t rows, size_t columns, bool flat) {
    const auto& api = py::detail::npy_api::get();
    PyObject* const descr =
        api.PyArray_DescrFromType_(dtype == DType::float32 ? api.NPY_FLOAT_ : api.NPY_DOUBLE_);
    const py::ssize_t shape[] = {static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)};
    PyObject* const made = api.PyArray_NewFromDescr_(api.PyArray_Type_, descr, flat ? 1 : 2, shape, nullptr,
                                                     nullptr, 0, nullptr);
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
}

// What `_quick` of a Python model is: the C++ model's address, under its class's name, and a reference that
// keeps it alive.
template <class Model>
py::capsule capsule_of_model(const py::object& model) {
    py::capsule capsule(model.cast<Model*>(), Model::kName, [](PyObject* self) {
        Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(self)));
    });
    PyCapsule_SetContext(capsule.ptr(), py::object(model).release().ptr());
    return capsule;
}

// A method of one argument: what `answer` makes of the model and X where `_quick` is a model's capsule and
// nothing else is said; else, or where it makes nothing, the method that was there before.
template <class Model, class F>
PyObject* call_quick(PyObject* checked_name, PyObject* self, PyObject* const* args, Py_ssize_t count,
                     PyObject* keywords, const F& answer) {
    static PyObject* const quick_name = PyUnicode_InternFromString("_quick");
    if (count == 1 && (keywords == nullptr || PyTuple_GET_SIZE(keywords) == 0)) {
        const auto capsule = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, quick_name));
        if (!capsule) return nullptr;
        if (PyCapsule_IsValid(capsule.ptr(), Model::kName)) {
            try {
                const auto& model =
                    *static_cast<const Model*>(PyCapsule_GetPointer(capsule.ptr(), Model::kName));
                py::object out = answer(model, py::handle(args[0]));
                if (out) return out.release().ptr();
            } catch (...) {
                set_python_error();
                return nullptr;
            }
        }
    }
    const auto method = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, checked_name));
    if (!method) return nullptr;
    return PyObject_Vectorcall(method.ptr(), args, static_cast<size_t>(count), keywords);
}

}  // namespace pyscale
