#include "core/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <thread>

#include "core/callers.h"

namespace pyscale {
namespace {

bool forked = false;

// Run when the library is loaded, so before any fork that matters.
const int registered = pthread_atfork(nullptr, nullptr, [] {
    forked = true;
    Caller::forget();
});

}  // namespace

size_t most_threads() {
    static const size_t most = std::max<size_t>(64, size_t{4} * std::thread::hardware_concurrency());
    return most;
}

bool in_forked_child() {
    static_cast<void>(registered);
    return forked;
}

}  // namespace pyscale
