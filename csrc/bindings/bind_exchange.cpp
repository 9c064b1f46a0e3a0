// Rows between ranks: how they are sorted by destination, and how they move on one node.
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/py_group.h"
#include "kernels/partition.h"

namespace pyscale {

namespace {

// Along the first axis; of any type.
Rows rows_of(const py::array& x) {
    size_t bytes = static_cast<size_t>(x.itemsize());
    bool whole = x.ndim() > 0;
    for (py::ssize_t d = x.ndim() - 1; d > 0; --d) {
        whole = whole && (x.shape(d) == 1 || x.strides(d) == static_cast<py::ssize_t>(bytes));
        bytes *= static_cast<size_t>(x.shape(d));
    }
    if (!whole && x.size() > 0) throw py::value_error("rows: expected rows without gaps");
    return {static_cast<const std::byte*>(x.data()), x.ndim() > 0 ? x.strides(0) : 0, bytes,
            x.ndim() > 0 ? static_cast<size_t>(x.shape(0)) : 0};
}

Destinations destinations_of(const py::array& x) {
    const auto* descr = py::detail::array_descriptor_proxy(x.dtype().ptr());
    const std::optional<DType> dtype = dtype_of(descr->type_num);
    if (x.ndim() != 1 || !dtype || *dtype == DType::boolean || is_floating(*dtype) || descr->byteorder == '>')
        throw py::type_error("destinations: expected integers in one dimension");
    return {static_cast<const std::byte*>(x.data()), x.strides(0), *dtype};
}

Partition partition_of(const py::array& rows, const py::array& destinations, size_t ranks,
                       size_t window_bytes) {
    const Destinations to = destinations_of(destinations);
    const Rows from = rows_of(rows);
    if (from.count != static_cast<size_t>(destinations.size()))
        throw py::value_error("destinations: expected one for each row");
    return {from, to, ranks, window_bytes};
}

py::tuple count_all(const py::array& destinations, size_t ranks) {
    const Destinations to = destinations_of(destinations);
    const auto rows = static_cast<size_t>(destinations.size());
    py::array_t<uint64_t> counts(static_cast<py::ssize_t>(ranks));
    uint64_t* const data = counts.mutable_data();
    size_t outside;
    {
        Gil gil;
        if (static_cast<size_t>(destinations.nbytes()) > kReleaseBytes) gil.release();
        outside = count_destinations(to, rows, ranks, data);
    }
    return py::make_tuple(counts, outside == rows ? py::object(py::none()) : py::int_(outside));
}

// A Partition that keeps its arrays.
struct PyPartition {
    py::array rows, destinations;
    Partition partition;

    void write(const std::vector<std::optional<py::array>>& outputs) {
        std::vector<std::byte*> cursors(partition.ranks(), nullptr);
        if (outputs.size() != cursors.size()) throw py::value_error("outputs: expected one a rank");
        size_t bytes = 0;
        for (size_t rank = 0; rank < cursors.size(); ++rank) {
            if (!outputs[rank]) continue;
            py::array output = *outputs[rank];
            bytes += partition.bytes(rank);
            if ((output.flags() & py::array::c_style) == 0 ||
                static_cast<size_t>(output.nbytes()) < partition.bytes(rank))
                throw py::value_error("outputs: expected contiguous arrays with room for the window");
            cursors[rank] = static_cast<std::byte*>(output.mutable_data());
        }
        Gil gil;
        if (bytes > kReleaseBytes) gil.release();
        partition.write(cursors.data());
    }
};

void exchange_rows(PyGroup& self, const py::array& rows, const py::array& destinations, size_t all_ranks,
                   const std::vector<size_t>& ranks, std::vector<py::array> outputs, size_t window_bytes,
                   std::optional<py::array> staging) {
    Group& group = self.group();
    RowStaging buffers = own_staging(group);
    if (staging) {
        buffers = {static_cast<std::byte*>(staging->mutable_data()),
                   static_cast<size_t>(staging->nbytes()) / Group::kStagingBuffers};
    }
    Partition partition =
        partition_of(rows, destinations, all_ranks, std::min(window_bytes, largest_window(group, buffers)));
    const Rows from = rows_of(rows);
    std::vector<std::byte*> starts;
    std::vector<uint64_t> bytes;
    uint64_t total = from.bytes * from.count;
    for (py::array& output : outputs) {
        if ((output.flags() & py::array::c_style) == 0)
            throw py::value_error("outputs: expected contiguous arrays");
        starts.push_back(static_cast<std::byte*>(output.mutable_data()));
        bytes.push_back(static_cast<uint64_t>(output.nbytes()));
        total += bytes.back();
    }
    const auto members = static_cast<size_t>(group.size());
    bool fits = ranks.size() == members && starts.size() == members;
    for (const size_t rank : ranks) fits = fits && rank < all_ranks;
    if (!fits) throw py::value_error("exchange: expected a rank and an output for each of the group");
    Call call;
    const auto row_bytes = static_cast<int64_t>(from.bytes);
    call.set_shape(&row_bytes, 1);
    self.call(total, [&] { exchange(group, call, partition, ranks, buffers, starts, bytes); });
}

}  // namespace

void bind_exchange(py::module_& m) {
    m.def("count_destinations", &count_all, py::arg("destinations"), py::arg("ranks"));
    m.def("exchange", &exchange_rows, py::arg("group"), py::arg("rows"), py::arg("destinations"),
          py::arg("all_ranks"), py::arg("ranks"), py::arg("outputs"), py::arg("window_bytes"),
          py::arg("staging") = py::none());
    py::class_<PyPartition>(m, "Partition")
        .def(py::init(
                 [](const py::array& rows, const py::array& destinations, size_t ranks, size_t window_bytes) {
                     return PyPartition{rows, destinations,
                                        partition_of(rows, destinations, ranks, window_bytes)};
                 }),
             py::arg("rows"), py::arg("destinations"), py::arg("ranks"), py::arg("window_bytes"))
        .def_property_readonly("windows", [](const PyPartition& self) { return self.partition.windows(); })
        .def(
            "read",
            [](PyPartition& self, size_t window) {
                self.partition.read(window);
                std::vector<size_t> bytes(self.partition.ranks());
                for (size_t rank = 0; rank < bytes.size(); ++rank) bytes[rank] = self.partition.bytes(rank);
                return bytes;
            },
            py::arg("window"))
        .def("write", &PyPartition::write, py::arg("outputs"));
}

}  // namespace pyscale
