// NumPy arrays as rows that the gather kernels move: the checks that memory safety needs.
#pragma once

#include <pybind11/numpy.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "kernels/gather.h"

namespace pyscale {

// An array as rows that have no gaps in them.
struct Rows {
    char* data;
    int64_t count, stride;
    size_t bytes;  // of a row

    static Rows of(const py::array& array, const char* what, bool writable) {
        if (array.ndim() < 1) throw py::value_error(std::string(what) + ": expected rows, got a 0-d array");
        if (array.dtype().attr("hasobject").cast<bool>()) {
            throw py::type_error(std::string(what) + ": expected elements without Python objects");
        }
        if (writable && !array.writeable()) {
            throw py::value_error(std::string(what) + ": expected a writable array");
        }
        py::ssize_t bytes = array.itemsize();
        for (py::ssize_t d = array.ndim() - 1; d > 0; --d) {
            if (array.shape(d) > 1 && array.strides(d) != bytes && array.size() > 0) {
                throw py::value_error(std::string(what) + ": expected rows that are contiguous");
            }
            bytes *= array.shape(d);
        }
        return {static_cast<char*>(const_cast<void*>(array.data())), array.shape(0), array.strides(0),
                static_cast<size_t>(bytes)};
    }
};

inline Indices indices_of(const py::array& array) {
    const std::optional<Raw> raw = Raw::of(array);
    if (!raw || raw->ndim != 1 || (raw->dtype != DType::int64 && raw->dtype != DType::int32)) {
        throw py::type_error("indices: expected a contiguous 1-d array of int64 or int32");
    }
    return {raw->data, raw->dtype == DType::int64, raw->count};
}

inline int64_t at(const Indices& indices, size_t position) {
    return indices.wide ? static_cast<const int64_t*>(indices.data)[position]
                        : static_cast<const int32_t*>(indices.data)[position];
}

// Throws IndexError, holding the lock, for an index that is not one of the rows.
inline void check(const Indices& indices, int64_t rows, int num_threads, Gil& gil) {
    const size_t position = first_outside(indices, rows, num_threads);
    if (position == indices.count) return;
    gil.take();
    const std::string expected =
        rows > 0 ? "0 to " + std::to_string(rows - 1) : "none, for there are no rows";
    throw py::index_error("indices: expected " + expected + ", got " + std::to_string(at(indices, position)) +
                          " at position " + std::to_string(position));
}

// For each array, its rows to those of an out; all arrays have as many, and all outs.
inline std::vector<Move> moves_between(const std::vector<py::array>& arrays,
                                       const std::vector<py::array>& outs) {
    if (arrays.size() != outs.size()) throw py::value_error("outs: expected as many as there are arrays");
    std::vector<Move> moves;
    for (size_t i = 0; i < arrays.size(); ++i) {
        const Rows from = Rows::of(arrays[i], "arrays", false), to = Rows::of(outs[i], "outs", true);
        if (from.count != arrays[0].shape(0) || to.count != outs[0].shape(0))
            throw py::value_error("arrays: expected as many rows in each");
        if (to.bytes != from.bytes) throw py::value_error("outs: expected rows of arrays' size");
        moves.push_back({from.data, from.stride, to.data, to.stride, from.bytes});
    }
    return moves;
}

// The same where there is an index for each row of the outs.
inline std::vector<Move> moves_of(const std::vector<py::array>& arrays, size_t count,
                                  const std::vector<py::array>& outs) {
    std::vector<Move> moves = moves_between(arrays, outs);
    if (!outs.empty() && outs[0].shape(0) != static_cast<py::ssize_t>(count))
        throw py::value_error("outs: expected one row for each index");
    return moves;
}

}  // namespace pyscale
