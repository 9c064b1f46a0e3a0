// Giving up Python's lock while C++ works or waits, and looking for Ctrl-C in between.
#pragma once

#include <pybind11/pybind11.h>

namespace pyscale {

class Gil {
   public:
    Gil() = default;
    ~Gil() { take(); }
    Gil(const Gil&) = delete;
    Gil& operator=(const Gil&) = delete;

    void release() {
        if (state_ == nullptr) state_ = PyEval_SaveThread();
    }
    void take() {
        if (state_ == nullptr) return;
        PyEval_RestoreThread(state_);
        state_ = nullptr;
    }
    // Runs the signal handlers that are due; throws what they raise, holding the lock.
    void check_signals() {
        const bool released = state_ != nullptr;
        take();
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        if (released) release();
    }

   private:
    PyThreadState* state_ = nullptr;
};

}  // namespace pyscale
