// Groups of ranks: the collectives of one node.
#include <pybind11/stl.h>

#include <cerrno>
#include <system_error>

#include "bindings/bindings.h"
#include "bindings/ops.h"
#include "bindings/py_group.h"

namespace pyscale {

namespace {

// out may be of a wider type than x; divisor 0 means the group's size.
void reduce_scatter_into(PyGroup& self, const py::handle& x, const std::string& op, const py::handle& out,
                         int64_t divisor) {
    const Raw from = Raw::require(x, "x", false);
    const Raw to = Raw::require(out, "out", true);
    const Op parsed = parse_op(op);
    const int size = self.group().size();
    if (from.count != to.count * static_cast<size_t>(size) || !convertible(from.dtype, to.dtype) ||
        !reducible(from.dtype, parsed) || to.overlaps(from)) {
        throw py::value_error(
            "reduce_scatter: expected out of 1/size of x's elements, a fitting dtype and no overlap");
    }
    const Fold fold{parsed, from.dtype, to.dtype, divisor == 0 ? size : divisor};
    const Call call = call_for(from);
    self.call(from.bytes(), [&] { reduce_scatter(self.group(), call, fold, from.data, to.data, to.count); });
}

Call call_for_rows_of(const Raw& x) {
    Call call;
    call.dtype = x.dtype;
    call.set_shape(x.shape + 1, x.ndim - 1);
    return call;
}

// rows_of: what the user has called all_to_all with, where this asks for its counts.
void all_gather_into(PyGroup& self, const py::handle& x, const py::handle& out, const std::string& name,
                     const py::handle& rows_of) {
    const Raw from = Raw::require(x, "x", false);
    const Raw to = Raw::require(out, "out", true);
    if (to.dtype != from.dtype || to.count != from.count * static_cast<size_t>(self.group().size())) {
        throw py::value_error("all_gather: expected out of size times x's elements and of x's dtype");
    }
    Call call = call_for(from);
    call.collective = parse_collective(name);
    if (!rows_of.is_none()) {
        const Raw rows = Raw::require(rows_of, "rows_of", false);
        if (rows.ndim < 1) throw py::value_error("all_gather: expected rows_of with at least one dimension");
        call = call_for_rows_of(rows);
        call.collective = Collective::all_to_all_counts;
    }
    self.call(to.bytes(), [&] { all_gather(self.group(), call, from.data, to.data, from.bytes()); });
}

void broadcast_in_place(PyGroup& self, const py::handle& x, int root, const std::string& name) {
    const Raw raw = Raw::require(x, "x", self.group().rank() != root);
    if (root < 0 || root >= self.group().size())
        throw py::value_error("root: expected a rank, got " + std::to_string(root));
    Call call = call_for(raw);
    call.collective = parse_collective(name);
    call.root = root;
    self.call(raw.bytes(), [&] { broadcast(self.group(), call, raw.data, raw.bytes()); });
}

// Counts are in rows of x.
void all_to_all_into(PyGroup& self, const py::handle& x, std::vector<uint64_t> send, const py::handle& out,
                     std::vector<uint64_t> receive) {
    const Raw from = Raw::require(x, "x", false);
    const Raw to = Raw::require(out, "out", true);
    const Call call = call_for_rows_of(from);
    uint64_t row_bytes = itemsize(from.dtype);
    for (int d = 1; d < from.ndim; ++d) row_bytes *= static_cast<uint64_t>(from.shape[d]);
    const auto scale = [&](std::vector<uint64_t>& rows, const Raw& array) {
        uint64_t total = 0;
        for (uint64_t& count : rows) {
            if (count > array.count) count = array.count + 1;  // cannot overflow below, and is refused there
            total += count;
            count *= row_bytes;
        }
        return rows.size() == static_cast<size_t>(self.group().size()) && total * row_bytes == array.bytes();
    };
    if (from.ndim < 1 || to.dtype != from.dtype || !scale(send, from) || !scale(receive, to) ||
        to.overlaps(from)) {
        throw py::value_error(
            "all_to_all: expected counts that sum to the rows of x and of out, and no overlap");
    }
    self.call(from.bytes() + to.bytes(),
              [&] { all_to_all(self.group(), call, from.data, send, to.data, receive); });
}

// Of pyscale.errors: looked up once, as nothing can be imported while Python exits.
PyObject *comm_error, *comm_timeout, *comm_mismatch;

}  // namespace

void translate(std::exception_ptr pointer) {
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const CommFailure& error) {
        PyErr_SetString(error.kind == Failure::timeout ? comm_timeout : comm_error, error.what());
    } catch (const CallMismatch& error) {
        PyErr_SetString(comm_mismatch, error.what());
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.what());
    }
}

void bind_group(py::module_& m) {
    const py::module_ errors = py::module_::import("pyscale.errors");
    comm_error = py::object(errors.attr("CommError")).release().ptr();
    comm_timeout = py::object(errors.attr("CommTimeout")).release().ptr();
    comm_mismatch = py::object(errors.attr("CommMismatch")).release().ptr();
    py::register_local_exception_translator(&translate);

    py::class_<PyGroup>(m, "Group")
        .def(py::init<std::shared_ptr<Node>, const std::vector<size_t>&, int, const std::vector<size_t>&,
                      const std::vector<int>&, double, int, const std::string&>(),
             py::arg("node"), py::arg("members"), py::arg("rank"), py::arg("mailboxes"), py::arg("labels"),
             py::arg("timeout"), py::arg("cores"), py::arg("algorithm"))
        .def("all_reduce", &all_reduce_plain, py::arg("x"), py::arg("op"), py::arg("out"))
        .def("reduce_scatter", &reduce_scatter_into, py::arg("x"), py::arg("op"), py::arg("out"),
             py::arg("divisor") = 0)
        .def("all_gather", &all_gather_into, py::arg("x"), py::arg("out"), py::arg("call") = "all_gather",
             py::arg("rows_of") = py::none())
        .def("broadcast", &broadcast_in_place, py::arg("x"), py::arg("root"), py::arg("call") = "broadcast")
        .def("all_to_all", &all_to_all_into, py::arg("x"), py::arg("send_counts"), py::arg("out"),
             py::arg("receive_counts"))
        .def("barrier", [](PyGroup& self) { self.call(0, [&] { barrier(self.group()); }); })
        .def(
            "set_timeout", [](PyGroup& self, double seconds) { self.group().set_timeout(seconds); },
            py::arg("seconds"))
        .def(
            "set_algorithm",
            [](PyGroup& self, const std::string& name) { self.group().set_algorithm(parse_algorithm(name)); },
            py::arg("name"))
        .def(
            "set_tuning",
            [](PyGroup& self, size_t eager, size_t eager_shared, size_t one_shot, size_t piece,
               size_t cache) {
                if (eager > kEagerBytes || eager_shared < sizeof(Link) || piece < 64 ||
                    piece > Group::kStagingBufferBytes) {
                    throw py::value_error("set_tuning: expected sizes that the mailbox has room for");
                }
                self.group().set_tuning({eager, eager_shared, one_shot, piece, cache});
            },
            py::arg("eager_bytes"), py::arg("eager_shared_bytes"), py::arg("one_shot_bytes"),
            py::arg("piece_bytes"), py::arg("cache_bytes"))
        .def(
            "set_patience",
            [](PyGroup& self, int spins, int yields) { self.group().set_patience({spins, yields}); },
            py::arg("spins"), py::arg("yields"))
        .def_property_readonly("broken", [](PyGroup& self) { return self.group().broken(); })
        .def("check", [](PyGroup& self) { self.group().check(); })
        .def(
            "abandon",
            [](PyGroup& self, const std::string& why, bool late) {
                self.group().abandon(why, late ? Failure::timeout : Failure::interruption);
            },
            py::arg("why"), py::arg("late"))
        .def("close", &PyGroup::close);
}

}  // namespace pyscale
