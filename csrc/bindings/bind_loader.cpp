// Batches gathered ahead, in threads that need nothing of Python.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "core/jobs.h"

namespace pyscale {

namespace py = pybind11;

namespace {

// One array of a batch: where its rows are, and where they go.
struct Part {
    const char* source;
    int64_t stride;
    size_t row;
    char* out;
};

class GatherAhead {
   public:
    explicit GatherAhead(int threads) : jobs_(threads) {}
    ~GatherAhead() { close(); }

    // outs[k][i] = sources[k][indices[i]]
    uint64_t submit(const std::vector<py::array>& sources, const py::array_t<int64_t>& indices,
                    const std::vector<py::array>& outs) {
        const int64_t* const at = indices.data();
        const auto count = static_cast<size_t>(indices.size());
        std::vector<Part> parts;
        for (size_t k = 0; k < sources.size(); ++k) parts.push_back(part(sources[k], at, count, outs.at(k)));
        const uint64_t ticket = jobs_.submit([parts = std::move(parts), at, count] {
            for (const Part& p : parts) {
                for (size_t i = 0; i < count; ++i)
                    std::memcpy(p.out + i * p.row, p.source + at[i] * p.stride, p.row);
            }
        });
        held_.emplace(ticket, py::make_tuple(sources, indices, outs));
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
    static Part part(const py::array& source, const int64_t* at, size_t count, const py::array& out) {
        if (source.ndim() < 1 || out.ndim() != source.ndim() || static_cast<size_t>(out.shape(0)) != count ||
            !(out.flags() & py::array::c_style) || !out.writeable() || !source.dtype().equal(out.dtype()))
            throw py::value_error("submit: expected outs that are as the rows of the sources");
        int64_t row = source.itemsize();
        for (py::ssize_t k = source.ndim() - 1; k > 0; --k) {
            if (source.shape(k) != out.shape(k) || (source.shape(k) > 1 && source.strides(k) != row))
                throw py::value_error("submit: expected rows that are contiguous and of one shape");
            row *= source.shape(k);
        }
        for (size_t i = 0; i < count; ++i) {
            if (at[i] < 0 || at[i] >= source.shape(0))
                throw py::index_error("expected an index from 0 to " + std::to_string(source.shape(0)) +
                                      " - 1, got " + std::to_string(at[i]) + " at " + std::to_string(i));
        }
        return {static_cast<const char*>(source.data()), source.strides(0), static_cast<size_t>(row),
                static_cast<char*>(const_cast<void*>(out.data()))};
    }

    Jobs jobs_;
    std::unordered_map<uint64_t, py::object> held_;  // what threads may be reading and writing
};

}  // namespace

void bind_loader(py::module_& m) {
    py::class_<GatherAhead>(m, "GatherAhead")
        .def(py::init<int>(), py::arg("num_threads"))
        .def("submit", &GatherAhead::submit, py::arg("sources"), py::arg("indices"), py::arg("outs"))
        .def("wait", &GatherAhead::wait, py::arg("ticket"))
        .def("close", &GatherAhead::close);
}

}  // namespace pyscale
