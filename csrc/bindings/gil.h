// Giving up Python's lock while C++ works or waits, and looking for Ctrl-C in between.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <cstddef>

namespace pyscale {

// Smaller work is done sooner than the lock is given up and taken again; a wait gives it up whatever the
// size.
constexpr size_t kReleaseBytes = 32 * 1024;

class Gil {
   public:
    Gil() = default;
    ~Gil() { take(); }
    Gil(const Gil&) = delete;
    Gil& operator=(const Gil&) = delete;

    // At exit only the thread that finalizes Python runs it: that one keeps the lock, and so never parks
    // below.
    void release() {
        if (state_ == nullptr && !is_finalizing()) state_ = PyEval_SaveThread();
    }
    void take() {
        if (state_ == nullptr) return;
        PyThreadState* const state = state_;
        state_ = nullptr;
        if (is_finalizing()) park();
#ifdef __GLIBCXX__
        try {
            PyEval_RestoreThread(state);
        } catch (abi::__forced_unwind&) {  // Python began to exit while this thread waited for the lock
            park();
        }
#else
        PyEval_RestoreThread(state);
#endif
    }
    // Runs the signal handlers that are due; throws what they raise, holding the lock.
    void check_signals() {
        const bool released = state_ != nullptr;
        take();
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        if (released) release();
    }

    // Whether Python exits: only one thread runs it then.
    static bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
        return Py_IsFinalizing();
#else
        return _Py_IsFinalizing();
#endif
    }

   private:
    // What Python would do to a thread that wants its lock at exit, unwinding through C++, ends the process.
    [[noreturn]] static void park() {
        for (;;) pause();
    }

    PyThreadState* state_ = nullptr;
};

}  // namespace pyscale
