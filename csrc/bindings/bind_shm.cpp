// The shared-memory transport: an arena, the node's processes, and groups of them.
#include <pybind11/stl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/ops.h"
#include "core/parallel.h"
#include "shm/arena.h"
#include "shm/collectives.h"

namespace pyscale {

namespace {

constexpr size_t kReleaseBytes =
    32 * 1024;  // larger calls give up Python's lock at once, smaller ones when they must wait

py::array empty(const std::shared_ptr<Arena>& arena, const py::dtype& dtype,
                const std::vector<py::ssize_t>& shape) {
    size_t bytes = static_cast<size_t>(dtype.itemsize());
    for (const py::ssize_t dim : shape) {
        if (dim < 0)
            throw py::value_error("shape: expected no negative dimension, got " + std::to_string(dim));
        if (__builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) throw std::bad_alloc();
    }
    const size_t offset = arena->allocate(bytes, true);
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

// The processes of one node that proved to share memory, seen from one of them. Owns the descriptors of the
// processes (-1: its own).
class Node {
   public:
    Node(std::shared_ptr<Arena> arena, int index, const std::vector<int>& arena_fds,
         const std::vector<size_t>& arena_bytes, std::vector<int> pidfds)
        : arena_(std::move(arena)), pidfds_(std::move(pidfds)) {
        for (size_t i = 0; i < arena_fds.size(); ++i) {
            const bool own = static_cast<int>(i) == index;
            mappings_.push_back(own ? nullptr : std::make_unique<Mapping>(arena_fds[i], arena_bytes[i]));
            bases_.push_back(own ? arena_->base() : mappings_.back()->base());
            bytes_.push_back(arena_bytes[i]);
        }
    }

    ~Node() {
        for (const int fd : pidfds_) {
            if (fd >= 0) close(fd);
        }
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    // A mailbox of this process's, in its own arena; the peers reach it by this offset.
    size_t open_mailbox() { return arena_->allocate(sizeof(Mailbox), false); }
    void free_mailbox(size_t offset) { arena_->free(offset); }

    ProcessState& state(size_t i) const { return *reinterpret_cast<ProcessState*>(bases_.at(i)); }
    uint64_t nonce(size_t i) const { return state(i).nonce; }
    void quarantine() { arena_->quarantine(); }
    // A process that joins again is no longer gone.
    void join() { arena_state().departed.store(0, std::memory_order_release); }
    void depart() { arena_state().departed.store(1, std::memory_order_release); }
    // Whether this rank is the first of the node to say that its exception ends the job.
    bool claim_failure(int rank) {
        uint32_t none = 0;
        return state(0).failing_rank.compare_exchange_strong(none, static_cast<uint32_t>(rank) + 1);
    }

    Group::Member member(size_t i, size_t mailbox_offset, int label) const {
        if (mailbox_offset > bytes_.at(i) || bytes_[i] - mailbox_offset < sizeof(Mailbox)) {
            throw py::value_error("mailbox: expected an offset in the arena, got " +
                                  std::to_string(mailbox_offset));
        }
        return {bases_[i], bytes_[i], reinterpret_cast<Mailbox*>(bases_[i] + mailbox_offset), pidfds_.at(i),
                label};
    }

   private:
    ProcessState& arena_state() const { return *reinterpret_cast<ProcessState*>(arena_->base()); }

    std::shared_ptr<Arena> arena_;
    std::vector<std::unique_ptr<Mapping>> mappings_;
    std::vector<std::byte*> bases_;
    std::vector<size_t> bytes_;
    std::vector<int> pidfds_;
};

// A group as Python calls it: one call at a time, without Python's lock once it waits or works long.
class PyGroup {
   public:
    PyGroup(std::shared_ptr<Node> node, const std::vector<size_t>& members, int rank,
            const std::vector<size_t>& mailboxes, const std::vector<int>& labels, double timeout, int cores,
            const std::string& algorithm)
        : node_(std::move(node)),
          group_(resolve(*node_, members, mailboxes, labels), rank,
                 {timeout, cores, parse_algorithm(algorithm)}) {
        group_.set_hooks({[this] { gil_->release(); },
                          [this] {
                              gil_->check_signals();
                              if (closing_)
                                  throw CommFailure(Failure::departure, "the communicator was closed");
                          }});
    }

    Group& group() { return group_; }

    template <class F>
    void call(size_t bytes, F body) {
        if (in_forked_child()) {
            throw CommFailure(Failure::none,
                              "expected the process that joined the job, got a forked child of it");
        }
        if (owner_ == std::this_thread::get_id()) {
            throw CommFailure(Failure::none,
                              "expected no collective inside another, got one from a signal handler");
        }
        Gil gil;
        std::unique_lock<std::timed_mutex> lock(mutex_, std::try_to_lock);
        while (!lock.owns_lock()) {
            gil.check_signals();
            gil.release();
            lock.try_lock_for(std::chrono::milliseconds(100));
        }
        const Owner owner(owner_);
        gil_ = &gil;
        if (bytes > kReleaseBytes) gil.release();
        try {
            body();
        } catch (const CallMismatch&) {
            throw;
        } catch (...) {
            if (group_.broken()) node_->quarantine();
            throw;
        }
    }

    // Ends the call under way, if any, and tells the peers.
    void close() {
        closing_ = true;
        // A signal handler's or the garbage collector's, inside a call of this thread: that call ends it.
        if (owner_ == std::this_thread::get_id() || in_forked_child()) return;
        Gil gil;
        gil.release();
        const std::lock_guard<std::timed_mutex> lock(mutex_);
        group_.close();
    }

   private:
    struct Owner {
        std::atomic<std::thread::id>& id;
        explicit Owner(std::atomic<std::thread::id>& owner) : id(owner) { id = std::this_thread::get_id(); }
        ~Owner() { id = std::thread::id(); }
    };

    static std::vector<Group::Member> resolve(const Node& node, const std::vector<size_t>& members,
                                              const std::vector<size_t>& mailboxes,
                                              const std::vector<int>& labels) {
        std::vector<Group::Member> resolved;
        for (size_t i = 0; i < members.size(); ++i)
            resolved.push_back(node.member(members[i], mailboxes.at(i), labels.at(i)));
        return resolved;
    }

    std::shared_ptr<Node> node_;
    Group group_;
    std::timed_mutex mutex_;
    std::atomic<std::thread::id> owner_{std::thread::id()};
    std::atomic<bool> closing_{false};
    Gil* gil_ = nullptr;
};

Call call_for(const Raw& x) {
    Call call;
    call.dtype = x.dtype;
    call.set_shape(x.shape, x.ndim);
    return call;
}

// The op by the identity of the usual, interned strings; by their text else.
std::optional<Op> quick_op(py::handle text) {
    static PyObject* const names[] = {
        PyUnicode_InternFromString("sum"),  PyUnicode_InternFromString("mean"),
        PyUnicode_InternFromString("min"),  PyUnicode_InternFromString("max"),
        PyUnicode_InternFromString("prod"),
    };
    for (const Op op : kOps) {
        PyObject* known = names[static_cast<int>(op)];
        if (text.ptr() == known) return op;
    }
    if (!PyUnicode_Check(text.ptr())) return std::nullopt;
    for (const Op op : kOps) {
        if (PyUnicode_CompareWithASCIIString(text.ptr(), name(op)) == 0) return op;
    }
    return std::nullopt;
}

// The short way for plain NumPy arrays. None: take the long way, which also finds the words for what is
// wrong.
py::object all_reduce_plain(PyGroup& self, const py::object& x, const py::handle& op_text,
                            const py::object& out) {
    const std::optional<Raw> from = Raw::of_exactly(x);
    const std::optional<Op> op = quick_op(op_text);
    if (!from || !op || !reducible(from->dtype, *op)) return py::none();
    py::object result = out;
    if (out.is_none()) {
        const auto* array = py::detail::array_proxy(x.ptr());
        const auto dtype = py::reinterpret_borrow<py::dtype>(array->descr);
        result = py::array(dtype, std::vector<py::ssize_t>(from->shape, from->shape + from->ndim));
    }
    const std::optional<Raw> to = Raw::of_exactly(result);
    if (!to || !to->writable || to->dtype != from->dtype || !to->same_shape(*from)) return py::none();
    if (to->data != from->data && to->overlaps(*from)) return py::none();
    const Call call = call_for(*from);  // now: without Python's lock the shape may be set anew
    self.call(from->bytes(), [&] {
        all_reduce(self.group(), call, Fold::of(*op, from->dtype, self.group().size()), from->data, to->data,
                   from->count);
    });
    return result;
}

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

void all_gather_into(PyGroup& self, const py::handle& x, const py::handle& out, const std::string& name) {
    const Raw from = Raw::require(x, "x", false);
    const Raw to = Raw::require(out, "out", true);
    if (to.dtype != from.dtype || to.count != from.count * static_cast<size_t>(self.group().size())) {
        throw py::value_error("all_gather: expected out of size times x's elements and of x's dtype");
    }
    Call call = call_for(from);
    call.collective = parse_collective(name);
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
    Call call;
    call.dtype = from.dtype;
    call.set_shape(from.shape + 1, from.ndim - 1);
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

void translate(std::exception_ptr pointer) {
    const auto raise = [](const char* type, const char* message) {
        const py::object error = py::module_::import("pyscale.errors").attr(type);
        PyErr_SetString(error.ptr(), message);
    };
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const CommFailure& error) {
        raise(error.kind == Failure::timeout ? "CommTimeout" : "CommError", error.what());
    } catch (const CallMismatch& error) {
        raise("CommMismatch", error.what());
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.what());
    }
}

// all_reduce_plain as a bare C function: a small call lasts about as long as pybind11's dispatch.
PyObject* all_reduce_function(PyObject* group, PyObject* const* args, Py_ssize_t count) {
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "all_reduce: expected x, op and out");
        return nullptr;
    }
    try {
        auto& self = *static_cast<PyGroup*>(PyCapsule_GetPointer(group, nullptr));
        return all_reduce_plain(self, py::reinterpret_borrow<py::object>(args[0]), args[1],
                                py::reinterpret_borrow<py::object>(args[2]))
            .release()
            .ptr();
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const std::invalid_argument& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (...) {
        try {
            translate(std::current_exception());
        } catch (const std::exception& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
        }
    }
    return nullptr;
}

// The function bound to a group, which it keeps alive.
py::object bind_all_reduce(const py::object& group) {
    static PyMethodDef definition = {
        "all_reduce", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(all_reduce_function)),
        METH_FASTCALL, "all_reduce(x, op, out): the result, or None for arrays that are not plain."};
    const py::capsule owner(group.cast<PyGroup*>(), nullptr, [](PyObject* capsule) {
        Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(capsule)));
    });
    PyCapsule_SetContext(owner.ptr(), group.inc_ref().ptr());
    return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&definition, owner.ptr(), nullptr));
}

}  // namespace

void bind_shm(py::module_& m) {
    py::register_local_exception_translator(&translate);

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
        .def("nonce", &Node::nonce, py::arg("index"))
        .def("join", &Node::join)
        .def("depart", &Node::depart)
        .def("claim_failure", &Node::claim_failure, py::arg("rank"));

    py::class_<PyGroup>(m, "Group")
        .def(py::init<std::shared_ptr<Node>, const std::vector<size_t>&, int, const std::vector<size_t>&,
                      const std::vector<int>&, double, int, const std::string&>(),
             py::arg("node"), py::arg("members"), py::arg("rank"), py::arg("mailboxes"), py::arg("labels"),
             py::arg("timeout"), py::arg("cores"), py::arg("algorithm"))
        .def("all_reduce", &all_reduce_plain, py::arg("x"), py::arg("op"), py::arg("out"))
        .def("bind_all_reduce", &bind_all_reduce)
        .def("reduce_scatter", &reduce_scatter_into, py::arg("x"), py::arg("op"), py::arg("out"),
             py::arg("divisor") = 0)
        .def("all_gather", &all_gather_into, py::arg("x"), py::arg("out"), py::arg("call") = "all_gather")
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
