// What was seen of an epoch. A table has a row for each range of indices: count, first and second sum.
#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "kernels/bounds.h"
#include "kernels/multiset.h"

namespace pyscale {

namespace {

using Table = py::array_t<uint64_t, py::array::c_style>;

Fingerprint* rows(Table& table) {
    static_assert(sizeof(Fingerprint) == 3 * sizeof(uint64_t));
    if (table.ndim() != 2 || table.shape(0) != kRanges || table.shape(1) != 3)
        throw py::value_error("multiset: expected a table of shape (256, 3)");
    return reinterpret_cast<Fingerprint*>(table.mutable_data());
}

uint64_t checked(uint64_t n) {
    if (n > INT64_MAX) throw py::value_error("multiset: expected n up to 2^63 - 1");
    return n;
}

// Adds the indices to the table, or finds the first that is not below n and changes nothing; none is -1.
int64_t add(Table table, const py::array_t<int64_t, py::array::c_style>& indices, uint64_t n) {
    Fingerprint* const ranges = rows(table);
    const int shift = range_shift(checked(n));
    const int64_t* const from = indices.data();
    const auto count = static_cast<size_t>(indices.size());
    Fingerprint added[kRanges] = {};  // of its own, while other threads run Python
    {
        Gil gil;
        if (static_cast<size_t>(indices.nbytes()) > kReleaseBytes) gil.release();
        const size_t outside = first_outside(from, count, n);
        if (outside < count) return static_cast<int64_t>(outside);
        add_indices(from, count, shift, added);
    }
    for (size_t range = 0; range < kRanges; ++range) {
        ranges[range].count += added[range].count;
        ranges[range].first += added[range].first;
        ranges[range].second += added[range].second;
    }
    return -1;
}

// A table of start to stop - 1.
Table between(uint64_t start, uint64_t stop, uint64_t n, int num_threads) {
    if (start > stop || stop > checked(n))
        throw py::index_error("multiset: expected 0 <= start <= stop <= n");
    Table table({static_cast<py::ssize_t>(kRanges), py::ssize_t{3}});
    Fingerprint* const ranges = rows(table);
    std::fill_n(ranges, kRanges, Fingerprint{});
    Gil gil;
    gil.release();
    add_between(start, stop, range_shift(n), num_threads, ranges);
    return table;
}

}  // namespace

void bind_multiset(py::module_& m) {
    m.attr("MULTISET_VERSION") = kMultisetVersion;
    m.def("multiset_add", &add, py::arg("table").noconvert(), py::arg("indices"), py::arg("n"));
    m.def("multiset_between", &between, py::arg("start"), py::arg("stop"), py::arg("n"),
          py::arg("num_threads"));
    m.def("multiset_shift", [](uint64_t n) { return range_shift(checked(n)); }, py::arg("n"));
    m.def(
        "multiset_only",
        [](uint64_t count, uint64_t first, uint64_t second) { return only_index({count, first, second}); },
        py::arg("count"), py::arg("first"), py::arg("second"));
}

}  // namespace pyscale
