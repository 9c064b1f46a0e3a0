// Batches gathered ahead, in threads that need nothing of Python.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/rows.h"
#include "core/jobs.h"
#include "kernels/place.h"

namespace pyscale {

namespace py = pybind11;

namespace {

class GatherAhead {
   public:
    explicit GatherAhead(int threads) : jobs_(threads) {}
    ~GatherAhead() { close(); }

    // outs[k][i] = sources[k][indices[i]]
    uint64_t submit(const std::vector<py::array>& sources, const py::array& indices,
                    const std::vector<py::array>& outs) {
        // A copy: the caller may use the array again before the rows are gathered.
        const py::array own(indices.attr("copy")());
        const Indices positions = indices_of(own);
        std::vector<Move> moves = moves_of(sources, positions.count, outs);
        Gil gil;
        if (!moves.empty()) check(positions, sources[0].shape(0), 1, gil);
        const uint64_t ticket = jobs_.submit(
            [moves = std::move(moves), positions] { gather(moves.data(), moves.size(), positions, 1); });
        held_.emplace(ticket, py::make_tuple(sources, own, outs));
        return ticket;
    }

    void wait(uint64_t ticket) {
        Gil gil;
        gil.release();
        while (!jobs_.wait(ticket, std::chrono::milliseconds(50))) gil.check_signals();
        gil.take();
        held_.erase(ticket);
    }

    void close() {
        {
            Gil gil;
            gil.release();
            jobs_.close();
        }
        held_.clear();
    }

   private:
    Jobs jobs_;
    std::unordered_map<uint64_t, py::object> held_;  // what threads may be reading and writing
};

// outs[k][to[i]] = sources[k][from[i]]
void place_columns(const std::vector<py::array>& sources,
                   const py::array_t<int64_t, py::array::c_style>& from, const std::vector<py::array>& outs,
                   const py::array_t<int64_t, py::array::c_style>& to) {
    const Indices taken = indices_of(from), put = indices_of(to);
    if (taken.count != put.count) throw py::value_error("place_columns: expected as many places as rows");
    std::vector<Move> moves = moves_between(sources, outs);
    if (moves.empty()) return;
    Gil gil;
    if (taken.count * moves.size() > kReleaseBytes / sizeof(int64_t)) gil.release();
    check(taken, sources[0].shape(0), 1, gil);
    check(put, outs[0].shape(0), 1, gil);
    place(moves.data(), moves.size(), from.data(), to.data(), taken.count);
}

}  // namespace

void bind_loader(py::module_& m) {
    py::class_<GatherAhead>(m, "GatherAhead")
        .def(py::init<int>(), py::arg("num_threads"))
        .def("submit", &GatherAhead::submit, py::arg("sources"), py::arg("indices"), py::arg("outs"))
        .def("wait", &GatherAhead::wait, py::arg("ticket"))
        .def("close", &GatherAhead::close);
    m.def("place_columns", &place_columns, py::arg("sources").noconvert(), py::arg("rows"),
          py::arg("outs").noconvert(), py::arg("places"));
}

}  // namespace pyscale
