// Shared memory: a process's arena, and the processes of a node.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "core/parallel.h"
#include "shm/arena.h"
#include "shm/node.h"

namespace pyscale {

namespace py = pybind11;

namespace {

size_t bytes_of(const py::dtype& dtype, const std::vector<py::ssize_t>& shape) {
    size_t bytes = static_cast<size_t>(dtype.itemsize());
    for (const py::ssize_t dim : shape) {
        if (dim < 0)
            throw py::value_error("shape: expected no negative dimension, got " + std::to_string(dim));
        if (__builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) throw std::bad_alloc();
    }
    return bytes;
}

py::array empty(const std::shared_ptr<Arena>& arena, const py::dtype& dtype,
                const std::vector<py::ssize_t>& shape) {
    const size_t offset = arena->allocate(bytes_of(dtype, shape), true);
    struct Block {  // keeps the arena alive as long as any array in it
        std::shared_ptr<Arena> arena;
        size_t offset;
    };
    auto* block = new Block{arena, offset};
    const py::capsule owner(block, [](void* pointer) {
        auto* block = static_cast<Block*>(pointer);
        block->arena->free(block->offset);
        delete block;
    });
    return py::array(dtype, shape, arena->base() + offset, owner);
}

// A lent block as two arrays: one to fill it by, and one that cannot be made writable. The last to go lets
// the block go; until then they keep the mapping.
template <class Keeper>
py::tuple arrays_in(LentBlock& block, const std::shared_ptr<Keeper>& keeper, const py::dtype& dtype,
                    const std::vector<py::ssize_t>& shape) {
    struct Use {
        std::shared_ptr<Keeper> keeper;
        LentBlock& block;
    };
    const py::capsule owner(new Use{keeper, block}, [](void* pointer) {
        auto* use = static_cast<Use*>(pointer);
        use->block.leave();
        delete use;
    });
    const py::array to_fill(dtype, shape, block.data(), owner), to_read(dtype, shape, block.data(), owner);
    py::detail::array_proxy(to_read.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return py::make_tuple(to_fill, to_read);
}

py::tuple lend(const std::shared_ptr<Arena>& arena, const py::dtype& dtype,
               const std::vector<py::ssize_t>& shape) {
    const size_t bytes = bytes_of(dtype, shape);
    Gil gil;
    gil.release();  // to make the pages of a few gigabytes takes a second
    const size_t offset = arena->lend(bytes);
    gil.take();
    auto& block = *reinterpret_cast<LentBlock*>(arena->base() + offset);
    return py::make_tuple(offset, arrays_in(block, arena, dtype, shape));
}

py::tuple borrow(const std::shared_ptr<Node>& node, size_t index, size_t offset, const py::dtype& dtype,
                 const std::vector<py::ssize_t>& shape) {
    LentBlock& block = node->borrow(index, offset);
    if (bytes_of(dtype, shape) > block.bytes) {
        block.leave();
        throw py::value_error("borrow: expected an array that the block has room for");
    }
    return arrays_in(block, node, dtype, shape);
}

// From when this process has nothing to do but MPI_Finalize, a neighbour that dies and so never comes there
// ends it, with status 1.
void watch_at_exit(std::shared_ptr<Node> node) {
    static auto* const watched = new std::shared_ptr<Node>;  // the last one; alive to the very end
    *watched = std::move(node);
    // See exit_before_mpi below.
    static const int registered = Py_AtExit([] {
        if (in_forked_child()) return;
        std::fflush(nullptr);
        try {
            std::thread([] {
                (*watched)->await_failure();
                std::_Exit(1);
            }).detach();
        } catch (const std::system_error&) {  // no more threads: MPI_Finalize goes unwatched
        }
    });
    static_cast<void>(registered);
}

}  // namespace

void bind_shm(py::module_& m) {
    // Python has it as os.pidfd_open, but not where it was built against an old kernel's headers.
    m.def(
        "pidfd_open",
        [](int pid) {
            const long fd = syscall(434, pid, 0);
            if (fd < 0) throw std::system_error(errno, std::generic_category(), "pidfd_open");
            return fd;
        },
        py::arg("pid"));

    m.def("exit_before_mpi", [] {
        // The interpreter calls these last to first, so before MPI_Finalize, which mpi4py has registered
        // earlier.
        return Py_AtExit([] {
                   std::fflush(nullptr);
                   std::_Exit(1);
               }) == 0;
    });

    py::class_<Arena, std::shared_ptr<Arena>>(m, "Arena")
        .def(py::init([](size_t bytes, uint64_t nonce) {
                 auto arena = std::make_shared<Arena>(bytes);
                 auto* state = reinterpret_cast<ProcessState*>(arena->base() +
                                                               arena->allocate(sizeof(ProcessState), true));
                 state->nonce = nonce;
                 return arena;
             }),
             py::arg("bytes"), py::arg("nonce"))
        .def_property_readonly("fd", &Arena::fd)
        .def_property_readonly("bytes", &Arena::bytes)
        .def_property_readonly("resident_bytes", &Arena::resident_bytes)
        .def("empty", &empty, py::arg("dtype"), py::arg("shape"))
        .def("lend", &lend, py::arg("dtype"), py::arg("shape"))
        .def(
            "contains",
            [](const Arena& arena, const py::array& x) {
                return arena.contains(x.data(), static_cast<size_t>(x.nbytes()));
            },
            py::arg("x"));

    py::class_<Node, std::shared_ptr<Node>>(m, "Node")
        .def(py::init<std::shared_ptr<Arena>, int, const std::vector<int>&, const std::vector<size_t>&,
                      std::vector<int>>(),
             py::arg("arena"), py::arg("index"), py::arg("arena_fds"), py::arg("arena_bytes"),
             py::arg("pidfds"))
        .def("open_mailbox", &Node::open_mailbox)
        .def("free_mailbox", &Node::free_mailbox, py::arg("offset"))
        .def("borrow", &borrow, py::arg("index"), py::arg("offset"), py::arg("dtype"), py::arg("shape"))
        .def("nonce", &Node::nonce, py::arg("index"))
        .def("join", &Node::join)
        .def("depart", &Node::depart, py::arg("in_order"))
        .def("watch_at_exit", &watch_at_exit)
        .def("claim_failure", &Node::claim_failure, py::arg("rank"));
}

}  // namespace pyscale
