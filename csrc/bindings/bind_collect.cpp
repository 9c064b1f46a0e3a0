// Rows of requests into one batch.
#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/collect.h"

namespace pyscale {

namespace {

// Arrays are looked at by their fields: a request of one row takes less time to copy than to ask about.
size_t collect_rows(const py::list& arrays, const py::array& out) {
    const auto& api = py::detail::npy_api::get();
    const auto* target = py::detail::array_proxy(out.ptr());
    if (target->nd < 1 || !out.writeable() || (out.flags() & py::array::c_style) == 0 ||
        out.dtype().attr("hasobject").cast<bool>()) {
        throw py::value_error("out: expected a writable contiguous array without Python objects");
    }
    size_t columns = 1;
    for (int d = 1; d < target->nd; ++d) columns *= static_cast<size_t>(target->dimensions[d]);
    const auto bytes = static_cast<size_t>(out.itemsize());
    const size_t room = static_cast<size_t>(target->dimensions[0]);

    std::vector<Piece> pieces;
    pieces.reserve(arrays.size());
    std::vector<py::object> alive;
    size_t rows = 0;
    for (size_t place = 0; place < arrays.size(); ++place) {
        PyObject* const object = PyList_GET_ITEM(arrays.ptr(), static_cast<Py_ssize_t>(place));
        const auto refuse = [&](const char* expected) {
            throw py::value_error("arrays[" + std::to_string(place) + "]: expected " + expected);
        };
        if (Py_TYPE(object) != api.PyArray_Type_) refuse("an array of NumPy");
        const auto* array = py::detail::array_proxy(object);
        if (array->descr != target->descr && !api.PyArray_EquivTypes_(array->descr, target->descr)) {
            refuse("out's type of element");
        }
        if (array->nd != target->nd) refuse("out's number of dimensions");
        for (int d = 1; d < target->nd; ++d) {
            if (array->dimensions[d] != target->dimensions[d]) refuse("out's shape but for the rows");
        }
        Piece piece{array->data, static_cast<size_t>(array->dimensions[0]), array->strides[0],
                    array->nd == 2 ? array->strides[1] : static_cast<int64_t>(bytes)};
        if (array->nd > 2 && array->dimensions[0] > 0) {
            auto dense = static_cast<py::ssize_t>(bytes);
            for (int d = array->nd - 1; d > 0; --d) {
                if (array->dimensions[d] > 1 && array->strides[d] != dense) refuse("rows without gaps");
                dense *= array->dimensions[d];
            }
        }
        if (piece.rows > room - rows) refuse("no more rows than out has room for");
        rows += piece.rows;
        pieces.push_back(piece);
    }
    Gil gil;
    if (rows * columns * bytes > 8 * kReleaseBytes) {
        alive.reserve(arrays.size());  // what keeps them, should somebody change the list meanwhile
        for (const auto& array : arrays) alive.push_back(py::reinterpret_borrow<py::object>(array));
        gil.release();
    }
    collect(pieces.data(), pieces.size(), columns, bytes, static_cast<char*>(target->data));
    gil.take();
    return rows;
}

}  // namespace

void bind_collect(py::module_& m) {
    m.def("collect_rows", &collect_rows, py::arg("arrays"), py::arg("out"),
          "Copies the rows of all arrays to out, one below the other; returns how many.");
}

}  // namespace pyscale
