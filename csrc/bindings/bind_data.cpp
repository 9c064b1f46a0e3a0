// What each rank reads: the order of an epoch.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/bounds.h"
#include "kernels/interleave.h"
#include "kernels/permute.h"

namespace pyscale {

namespace {

py::array_t<int64_t> indices(const Permutation& self, uint64_t start, uint64_t stop, uint64_t step) {
    if (start > stop || stop > self.size() || step == 0)
        throw py::index_error("indices: expected 0 <= start <= stop <= n and 0 < step");
    const uint64_t count = (stop - start) / step + ((stop - start) % step != 0);
    py::array_t<int64_t> out(static_cast<py::ssize_t>(count));
    int64_t* const data = out.mutable_data();
    Gil gil;
    if (static_cast<size_t>(out.nbytes()) > kReleaseBytes) gil.release();
    self.indices(start, count, data, step);
    return out;
}

// Either of Permutation's functions on arrays. What is checked and used is a copy, for other threads may
// write to x meanwhile; a piece at a time, so that it stays in the cache.
template <void (Permutation::*function)(const int64_t*, size_t, int64_t*) const>
py::array_t<int64_t> each(const Permutation& self, const py::array_t<int64_t, py::array::c_style>& x) {
    constexpr size_t kPiece = 2048;
    py::array_t<int64_t> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    const int64_t* const from = x.data();
    int64_t* const to = out.mutable_data();
    const auto count = static_cast<size_t>(out.size());
    Gil gil;
    if (static_cast<size_t>(out.nbytes()) > kReleaseBytes) gil.release();
    for (size_t begin = 0; begin < count; begin += kPiece) {
        const size_t piece = std::min(kPiece, count - begin);
        std::copy_n(from + begin, piece, to + begin);
        const size_t outside = first_outside(to + begin, piece, self.size());
        if (outside < piece) {
            gil.take();
            throw py::index_error("expected 0 to " + std::to_string(self.size()) + " - 1, got " +
                                  std::to_string(to[begin + outside]));
        }
        (self.*function)(to + begin, piece, to + begin);
    }
    return out;
}

py::tuple locate(const Interleave& self, const py::array_t<int64_t, py::array::c_style>& positions) {
    const int64_t* const from = positions.data();
    const auto count = static_cast<size_t>(positions.size());
    for (size_t i = 0; i < count; ++i) {
        if (from[i] < 0 || from[i] >= self.length()) throw py::index_error("locate: expected positions");
    }
    py::array_t<int64_t> part(positions.size()), number(positions.size());
    self.locate(from, count, part.mutable_data(), number.mutable_data());
    return py::make_tuple(part, number);
}

py::array_t<int64_t> counts(const Interleave& self, int64_t position) {
    if (position < 0 || position > self.length()) throw py::index_error("counts: expected a position");
    py::array_t<int64_t> out(static_cast<py::ssize_t>(self.parts()));
    self.counts(position, out.mutable_data());
    return out;
}

}  // namespace

void bind_data(py::module_& m) {
    m.attr("PERMUTATION_VERSION") = kPermutationVersion;
    py::class_<Permutation>(m, "Permutation")
        .def(py::init<uint64_t, uint64_t, uint64_t, uint64_t>(), py::arg("n"), py::arg("seed"),
             py::arg("epoch"), py::arg("stream"))
        .def("indices", &indices, py::arg("start"), py::arg("stop"), py::arg("step") = 1)
        .def("at", &each<&Permutation::at>, py::arg("positions"))
        .def("inverse", &each<&Permutation::inverse>, py::arg("values"));
    py::class_<Interleave>(m, "Interleave")
        .def(py::init<std::vector<int64_t>, int64_t, uint64_t, int64_t>(), py::arg("weights"),
             py::arg("length"), py::arg("seed"), py::arg("epoch"))
        .def("locate", &locate, py::arg("positions"))
        .def("counts", &counts, py::arg("position"));
}

}  // namespace pyscale
