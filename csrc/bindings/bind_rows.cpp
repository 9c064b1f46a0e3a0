// Rows of NumPy arrays of any element type without Python objects, moved as bytes.
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/gather.h"

namespace pyscale {

namespace {

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

// The bytes that an array lies in, from the first to the one after the last.
std::pair<uintptr_t, uintptr_t> bounds(const py::array& array) {
    uintptr_t low = reinterpret_cast<uintptr_t>(array.data()),
              high = low + static_cast<size_t>(array.itemsize());
    for (py::ssize_t d = 0; d < array.ndim(); ++d) {
        const py::ssize_t reach = (array.shape(d) - 1) * array.strides(d);
        (reach < 0 ? low : high) += static_cast<uintptr_t>(reach);
    }
    return {low, high};
}

// Whether the bounds of one of the outs meet those of another or of one of the others.
bool bounds_meet(const std::vector<py::array>& outs, const std::vector<py::array>& others) {
    struct Span {
        uintptr_t low, high;
        bool is_out;
    };
    std::vector<Span> spans;
    for (const auto* const arrays : {&outs, &others}) {
        for (const py::array& array : *arrays) {
            const auto [low, high] = bounds(array);
            if (array.nbytes() > 0) spans.push_back({low, high, arrays == &outs});
        }
    }
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.low < b.low; });
    uintptr_t end = 0, end_of_outs = 0;  // of those that begin before
    for (const Span& span : spans) {
        if (span.low < (span.is_out ? end : end_of_outs)) return true;
        end = std::max(end, span.high);
        if (span.is_out) end_of_outs = std::max(end_of_outs, span.high);
    }
    return false;
}

Indices indices_of(const py::array& array) {
    const std::optional<Raw> raw = Raw::of(array);
    if (!raw || raw->ndim != 1 || (raw->dtype != DType::int64 && raw->dtype != DType::int32)) {
        throw py::type_error("indices: expected a contiguous 1-d array of int64 or int32");
    }
    return {raw->data, raw->dtype == DType::int64, raw->count};
}

int64_t at(const Indices& indices, size_t position) {
    return indices.wide ? static_cast<const int64_t*>(indices.data)[position]
                        : static_cast<const int32_t*>(indices.data)[position];
}

void check(const Indices& indices, int64_t rows, int num_threads, Gil& gil) {
    const size_t position = first_outside(indices, rows, num_threads);
    if (position == indices.count) return;
    gil.take();
    const std::string expected =
        rows > 0 ? "0 to " + std::to_string(rows - 1) : "none, for there are no rows";
    throw py::index_error("indices: expected " + expected + ", got " + std::to_string(at(indices, position)) +
                          " at position " + std::to_string(position));
}

// Gives up Python's lock if so much is to do: also short rows take a cache line each.
void release_for(Gil& gil, size_t rows, size_t bytes) {
    constexpr size_t kLine = 64;
    if (rows > kReleaseBytes / (bytes + kLine)) gil.release();
}

void check_indices(const py::array& indices, int64_t rows, int num_threads) {
    const Indices positions = indices_of(indices);
    Gil gil;
    release_for(gil, positions.count, 0);
    check(positions, rows, num_threads, gil);
}

void gather_columns(const std::vector<py::array>& arrays, const py::array& indices,
                    const std::vector<py::array>& outs, int num_threads) {
    const Indices positions = indices_of(indices);
    if (arrays.size() != outs.size()) throw py::value_error("outs: expected as many as there are arrays");
    std::vector<Move> moves;
    size_t bytes = 0;
    int64_t rows = 0;
    for (size_t i = 0; i < arrays.size(); ++i) {
        const Rows from = Rows::of(arrays[i], "arrays", false), to = Rows::of(outs[i], "outs", true);
        if (i > 0 && from.count != rows) throw py::value_error("arrays: expected as many rows in each");
        if (to.bytes != from.bytes || to.count != static_cast<int64_t>(positions.count)) {
            throw py::value_error("outs: expected rows of arrays' size, one for each index");
        }
        rows = from.count;
        bytes += from.bytes;
        moves.push_back({from.data, from.stride, to.data, to.stride, from.bytes});
    }
    Gil gil;
    release_for(gil, positions.count, bytes);
    if (!moves.empty()) check(positions, rows, num_threads, gil);
    gather(moves.data(), moves.size(), positions, num_threads);
}

void scatter_rows(const py::array& rows, const py::array& indices, const py::array& out, int num_threads) {
    const Indices positions = indices_of(indices);
    const Rows from = Rows::of(rows, "rows", false), to = Rows::of(out, "out", true);
    if (from.bytes != to.bytes || from.count != static_cast<int64_t>(positions.count)) {
        throw py::value_error("rows: expected rows of out's size, one for each index");
    }
    Gil gil;
    release_for(gil, positions.count, from.bytes);
    check(positions, to.count, num_threads, gil);
    scatter({from.data, from.stride, to.data, to.stride, from.bytes}, to.count, positions, num_threads);
}

}  // namespace

void bind_rows(py::module_& m) {
    m.def("bounds_meet", &bounds_meet, py::arg("outs").noconvert(), py::arg("others").noconvert());
    m.def("check_indices", &check_indices, py::arg("indices").noconvert(), py::arg("rows"),
          py::arg("num_threads"));
    m.def("gather_columns", &gather_columns, py::arg("arrays").noconvert(), py::arg("indices").noconvert(),
          py::arg("outs").noconvert(), py::arg("num_threads"));
    m.def("scatter_rows", &scatter_rows, py::arg("rows").noconvert(), py::arg("indices").noconvert(),
          py::arg("out").noconvert(), py::arg("num_threads"));
}

}  // namespace pyscale
