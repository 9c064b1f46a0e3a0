// Methods in C that come before those of a Python class, for calls that last about as long as Python's own.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace pyscale {

using Method = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

// Puts `method` before the class's own of that name, which becomes `_NAME_checked`; it keeps the
// documentation.
template <Method method>
void shorten(const pybind11::type& type, const char* name, const char* signature) {
    const pybind11::object checked = type.attr(name);
    static const std::string doc =
        std::string(name) + signature + "\n--\n\n" + std::string(pybind11::str(checked.attr("__doc__")));
    static PyMethodDef definition = {name,
                                     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(method)),
                                     METH_FASTCALL | METH_KEYWORDS, doc.c_str()};
    PyObject* const made = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition);
    if (made == nullptr) throw pybind11::error_already_set();
    type.attr(("_" + std::string(name) + "_checked").c_str()) = checked;
    type.attr(name) = pybind11::reinterpret_steal<pybind11::object>(made);
}

}  // namespace pyscale
