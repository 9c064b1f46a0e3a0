// Forest.predict, raw and predict_proba in C, for plain NumPy arrays: of a row, the answer takes less time
// than Python takes to call a method and look at its arguments.
#include <string>

#include "bindings/bindings.h"
#include "bindings/py_forest.h"
#include "bindings/quick_model.h"

namespace pyscale {

namespace {

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
        if (answer == Answer::proba) {
            link.name = Link::Name::softmax;
        } else {
            std::vector<T> all(rows * outputs);
            self.forest.predict(input, rows, begin, end, link, all.data(), num_threads, engine);
            for (size_t row = 0; row < rows; ++row) out[row] = all[row * outputs];
            return;
        }
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

// The short way, where the answer is one that it knows and X a plain array.
PyObject* short_method(Answer answer, PyObject* checked_name, PyObject* self, PyObject* const* args,
                       Py_ssize_t count, PyObject* keywords) {
    return call_quick<PyForest>(
        checked_name, self, args, count, keywords, [&](const PyForest& model, py::handle x) -> py::object {
            if (answer == Answer::linked && model.gives_labels) return {};
            if (answer == Answer::proba && !model.classifies) return {};
            const std::optional<Input> input = plain_rows<Input>(x, model.forest.features());
            if (!input) return {};
            const auto rows = static_cast<size_t>(py::detail::array_proxy(x.ptr())->dimensions[0]);
            py::object out = model.empty(answer, rows);
            model.run(*input, rows, 0, model.forest.trees(), answer, py::detail::array_proxy(out.ptr())->data,
                      model.threads);
            return out;
        });
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

}  // namespace

py::object PyForest::empty(Answer answer, size_t rows) const {
    const size_t second = columns(answer);
    return fresh_answer(dtype(), rows, second, second == 1);
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
    m.def("capsule_of_forest", &capsule_of_model<PyForest>, py::arg("forest"));
}

}  // namespace pyscale
