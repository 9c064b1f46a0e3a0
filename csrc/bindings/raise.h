// C++ exceptions as Python's, in functions that pybind11 does not call.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <stdexcept>

#include "bindings/py_group.h"

namespace pyscale {

// Sets the Python exception for the C++ one that is being handled.
inline void set_python_error() {
    try {
        throw;
    } catch (pybind11::error_already_set& error) {
        error.restore();
    } catch (const std::invalid_argument& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (...) {
        try {
            translate(std::current_exception());
        } catch (const std::exception& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
        }
    }
}

}  // namespace pyscale
