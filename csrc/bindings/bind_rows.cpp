// Rows of NumPy arrays of any element type without Python objects, moved as bytes.
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/rows.h"
#include "kernels/gather.h"

namespace pyscale {

namespace {

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
    const std::vector<Move> moves = moves_of(arrays, positions.count, outs);
    size_t bytes = 0;
    for (const Move& move : moves) bytes += move.bytes;
    Gil gil;
    release_for(gil, positions.count, bytes);
    if (!moves.empty()) check(positions, arrays[0].shape(0), num_threads, gil);
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
