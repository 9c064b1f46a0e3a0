// Batches gathered ahead, in threads that need nothing of Python.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
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

using Places = py::array_t<uint32_t, py::array::c_style>;

// Throws IndexError, holding the lock, for one that is not below `count`.
void check_below(const uint32_t* indices, size_t n, int64_t count, const char* what, Gil& gil) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; ++i) most = std::max(most, indices[i]);
    if (n == 0 || most < count) return;
    gil.take();
    throw py::index_error(std::string("place_columns: expected ") + what + " below " + std::to_string(count) +
                          ", got " + std::to_string(most));
}

// outs[k][places[i]] = sources[k][rows[i]], or sources[k][i] without rows
void place_columns(const std::vector<py::array>& sources, const std::optional<Places>& rows,
                   const std::vector<py::array>& outs, const Places& places) {
    const std::vector<Move> moves = moves_between(sources, outs);
    if (moves.empty()) return;
    const auto count = static_cast<size_t>(places.size());
    const auto given = static_cast<size_t>(rows ? rows->size() : sources[0].shape(0));
    if (count != given) throw py::value_error("place_columns: expected as many places as rows");
    const uint32_t* const from = rows ? rows->data() : nullptr;
    const uint32_t* const to = places.data();
    Gil gil;
    if (count * moves.size() > kReleaseBytes / sizeof(int64_t)) gil.release();
    if (from) check_below(from, count, sources[0].shape(0), "rows", gil);
    check_below(to, count, outs[0].shape(0), "places", gil);
    place(moves.data(), moves.size(), from, to, count);
}

}  // namespace

void bind_loader(py::module_& m) {
    py::class_<GatherAhead>(m, "GatherAhead")
        .def(py::init<int>(), py::arg("num_threads"))
        .def("submit", &GatherAhead::submit, py::arg("sources"), py::arg("indices"), py::arg("outs"))
        .def("wait", &GatherAhead::wait, py::arg("ticket"))
        .def("close", &GatherAhead::close);
    m.def("place_columns", &place_columns, py::arg("sources").noconvert(), py::arg("rows").noconvert(),
          py::arg("outs").noconvert(), py::arg("places").noconvert());
}

}  // namespace pyscale
