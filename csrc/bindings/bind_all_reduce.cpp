// Communicator.all_reduce in C, for plain NumPy arrays: a small one lasts about as long as a method of
// Python's, or as pybind11's dispatch.
#include <string>

#include "bindings/bindings.h"
#include "bindings/py_group.h"
#include "bindings/raise.h"
#include "bindings/shorten.h"

namespace pyscale {

namespace {

// The op by the identity of the usual, interned strings; by their text else.
std::optional<Op> quick_op(py::handle text) {
    static PyObject* const names[] = {
        PyUnicode_InternFromString("sum"),  PyUnicode_InternFromString("mean"),
        PyUnicode_InternFromString("min"),  PyUnicode_InternFromString("max"),
        PyUnicode_InternFromString("prod"),
    };
    for (const Op op : kOps) {
        PyObject* known = names[static_cast<int>(op)];
        if (text.ptr() == known) return op;
    }
    if (!PyUnicode_Check(text.ptr())) return std::nullopt;
    for (const Op op : kOps) {
        if (PyUnicode_CompareWithASCIIString(text.ptr(), name(op)) == 0) return op;
    }
    return std::nullopt;
}

py::object empty_like(const Raw& raw, py::handle array) {
    const auto& api = py::detail::npy_api::get();
    PyObject* const dtype = py::detail::array_proxy(array.ptr())->descr;
    Py_INCREF(dtype);  // the call takes a reference away
    PyObject* const made = api.PyArray_NewFromDescr_(api.PyArray_Type_, dtype, raw.ndim, raw.shape, nullptr,
                                                     nullptr, 0, nullptr);
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
}

// The arguments of all_reduce(x, op="sum", out=None).
struct Arguments {
    PyObject *x = nullptr, *op = nullptr, *out = nullptr;

    // False for what must be complained about, or looked at more closely.
    bool parse(PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
        if (count > 3) return false;
        PyObject** const slots[] = {&x, &op, &out};
        for (Py_ssize_t i = 0; i < count; ++i) *slots[i] = args[i];
        static PyObject* const names[] = {PyUnicode_InternFromString("x"), PyUnicode_InternFromString("op"),
                                          PyUnicode_InternFromString("out")};
        for (Py_ssize_t k = 0; keywords != nullptr && k < PyTuple_GET_SIZE(keywords); ++k) {
            int slot = 0;
            while (slot < 3 && PyTuple_GET_ITEM(keywords, k) != names[slot]) ++slot;
            if (slot == 3 || *slots[slot] != nullptr) return false;
            *slots[slot] = args[count + k];
        }
        static PyObject* const sum = PyUnicode_InternFromString("sum");
        if (op == nullptr) op = sum;
        if (out == nullptr) out = Py_None;
        return x != nullptr;
    }
};

// The short way, where the communicator's `_group` is a capsule and the arrays are plain; else its
// `_all_reduce_checked`, with the arguments as they came.
PyObject* all_reduce_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
    static PyObject* const group_name = PyUnicode_InternFromString("_group");
    static PyObject* const checked_name = PyUnicode_InternFromString("_all_reduce_checked");
    Arguments arguments;
    if (arguments.parse(args, count, keywords)) {
        const auto capsule = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, group_name));
        if (!capsule) return nullptr;
        if (PyCapsule_CheckExact(capsule.ptr())) {
            try {
                auto& group = *static_cast<PyGroup*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
                py::object result = all_reduce_plain(group, arguments.x, arguments.op, arguments.out);
                if (!result.is_none()) return result.release().ptr();
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

void shorten_all_reduce(const py::type& communicator) {
    shorten<all_reduce_method>(communicator, "all_reduce", "($self, x, op='sum', out=None)");
}

// What `_group` is: the group's address, and a reference that keeps it alive.
py::capsule capsule_of(const py::object& group) {
    py::capsule capsule(group.cast<PyGroup*>(), nullptr, [](PyObject* self) {
        Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(self)));
    });
    PyCapsule_SetContext(capsule.ptr(), group.inc_ref().ptr());
    return capsule;
}

}  // namespace

py::object all_reduce_plain(PyGroup& self, py::handle x, py::handle op_text, py::handle out) {
    const std::optional<Raw> from = Raw::of_exactly(x);
    const std::optional<Op> op = quick_op(op_text);
    if (!from || !op || !reducible(from->dtype, *op)) return py::none();
    py::object result = out.is_none() ? empty_like(*from, x) : py::reinterpret_borrow<py::object>(out);
    const std::optional<Raw> to = Raw::of_exactly(result);
    if (!to || !to->writable || to->dtype != from->dtype || !to->same_shape(*from)) return py::none();
    if (to->data != from->data && to->overlaps(*from)) return py::none();
    const Call call = call_for(*from);  // now: without Python's lock the shape may be set anew
    self.call(from->bytes(), [&] {
        all_reduce(self.group(), call, Fold::of(*op, from->dtype, self.group().size()), from->data, to->data,
                   from->count);
    });
    return result;
}

void bind_all_reduce(py::module_& m) {
    m.def("shorten_all_reduce", &shorten_all_reduce, py::arg("communicator"));
    m.def("capsule_of", &capsule_of, py::arg("group"));
}

}  // namespace pyscale
