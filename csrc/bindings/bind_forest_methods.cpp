// Forest.predict, raw and predict_proba in C, for plain NumPy arrays: of a row, the answer takes less time
// than Python takes to call a method and look at its arguments.
#include <string>

#include "bindings/bindings.h"
#include "bindings/py_forest.h"
#include "bindings/raise.h"
#include "bindings/shorten.h"

namespace pyscale {

namespace {

using forest::Forest;
using forest::Input;
using forest::Link;
using Answer = PyForest::Answer;

constexpr double kReleaseNs = 20e3;  // work from which Python's lock is given up

template <class T>
void run_in(const PyForest& self, const Input& input, size_t rows, size_t begin, size_t end, Answer answer,
            T* out, int num_threads, forest::Engine engine) {
    const auto outputs = static_cast<size_t>(self.forest.outputs());
    Link link;
    if (answer != Answer::raw) link = self.link;
    if (link.divisor == 0) {
        link.divisor = static_cast<double>(std::max<size_t>((end - begin) / self.trees_per_round, 1));
    }
    if (link.name == Link::Name::argmax && outputs > 1) {
        std::vector<T> all(rows * outputs);
        if (answer == Answer::proba) link.name = Link::Name::softmax;
        self.forest.predict(input, rows, begin, end, link, all.data(), num_threads, engine);
        if (answer == Answer::proba) {
            std::copy(all.begin(), all.end(), out);
        } else {
            for (size_t row = 0; row < rows; ++row) out[row] = all[row * outputs];
        }
        return;
    }
    self.forest.predict(input, rows, begin, end, link, out, num_threads, engine);
    if (answer == Answer::proba && outputs == 1) {
        for (size_t row = rows; row-- > 0;) {  // backwards: two take the place of one
            const T second = out[row];
            out[2 * row] = 1 - second;
            out[2 * row + 1] = second;
        }
    }
}

// `name`(X) of a forest whose `_quick` is a capsule: the short way where X is a plain array and nothing else
// is said; else the method that was there before.
PyObject* short_method(Answer answer, PyObject* checked_name, PyObject* self, PyObject* const* args,
                       Py_ssize_t count, PyObject* keywords) {
    static PyObject* const quick_name = PyUnicode_InternFromString("_quick");
    if (count == 1 && (keywords == nullptr || PyTuple_GET_SIZE(keywords) == 0)) {
        const auto capsule = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, quick_name));
        if (!capsule) return nullptr;
        if (PyCapsule_CheckExact(capsule.ptr())) {
            try {
                const auto& wrapped = *static_cast<PyForest*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
                const std::optional<Input> input = input_of(wrapped.forest, args[0]);
                if (input && !(answer == Answer::linked && wrapped.gives_labels) &&
                    !(answer == Answer::proba && !wrapped.classifies)) {
                    const auto rows = static_cast<size_t>(py::detail::array_proxy(args[0])->dimensions[0]);
                    py::object out = wrapped.empty(answer, rows);
                    wrapped.run(*input, rows, 0, wrapped.forest.trees(), answer,
                                py::detail::array_proxy(out.ptr())->data, wrapped.threads);
                    return out.release().ptr();
                }
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

PyObject* predict_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const checked = PyUnicode_InternFromString("_predict_checked");
    return short_method(Answer::linked, checked, self, args, count, keywords);
}

PyObject* raw_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const checked = PyUnicode_InternFromString("_raw_checked");
    return short_method(Answer::raw, checked, self, args, count, keywords);
}

PyObject* proba_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const checked = PyUnicode_InternFromString("_predict_proba_checked");
    return short_method(Answer::proba, checked, self, args, count, keywords);
}

void shorten_forest(const py::type& forest) {
    constexpr const char* kSignature = "($self, X, *, num_trees=None, num_threads=None, out=None)";
    shorten<predict_method>(forest, "predict", kSignature);
    shorten<raw_method>(forest, "raw", kSignature);
    shorten<proba_method>(forest, "predict_proba", kSignature);
}

// What `_quick` is: the forest's address, and a reference that keeps it alive.
py::capsule capsule_of_forest(const py::object& forest) {
    py::capsule capsule(forest.cast<PyForest*>(), nullptr, [](PyObject* self) {
        Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(self)));
    });
    PyCapsule_SetContext(capsule.ptr(), py::object(forest).release().ptr());
    return capsule;
}

}  // namespace

std::optional<Input> input_of(const Forest& forest, py::handle x) {
    const auto& api = py::detail::npy_api::get();
    if (Py_TYPE(x.ptr()) != api.PyArray_Type_) return std::nullopt;
    const auto* array = py::detail::array_proxy(x.ptr());
    const auto* descr = py::detail::array_descriptor_proxy(array->descr);
    const bool wide = descr->type_num == py::detail::npy_api::NPY_DOUBLE_;
    if (array->nd != 2 || array->dimensions[1] != forest.features() || descr->byteorder == '>' ||
        (!wide && descr->type_num != py::detail::npy_api::NPY_FLOAT_)) {
        return std::nullopt;
    }
    return Input{array->data, array->strides[0], array->strides[1], wide};
}

py::object PyForest::empty(Answer answer, size_t rows) const {
    const auto& api = py::detail::npy_api::get();
    PyObject* const descr = api.PyArray_DescrFromType_(
        forest.narrow_sums() ? py::detail::npy_api::NPY_FLOAT_ : py::detail::npy_api::NPY_DOUBLE_);
    const size_t second = columns(answer);
    const py::ssize_t shape[] = {static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(second)};
    PyObject* const made = api.PyArray_NewFromDescr_(api.PyArray_Type_, descr, second == 1 ? 1 : 2, shape,
                                                     nullptr, nullptr, 0, nullptr);
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
}

void PyForest::run(const Input& input, size_t rows, size_t begin, size_t end, Answer answer, void* out,
                   int num_threads, forest::Engine engine) const {
    Gil gil;
    if (forest.cost(rows) > kReleaseNs) gil.release();
    if (forest.narrow_sums()) {
        run_in(*this, input, rows, begin, end, answer, static_cast<float*>(out), num_threads, engine);
    } else {
        run_in(*this, input, rows, begin, end, answer, static_cast<double*>(out), num_threads, engine);
    }
}

void bind_forest_methods(py::module_& m) {
    m.def("shorten_forest", &shorten_forest, py::arg("forest"));
    m.def("capsule_of_forest", &capsule_of_forest, py::arg("forest"));
}

}  // namespace pyscale
