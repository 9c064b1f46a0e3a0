#include "core/parallel.h"

#include <pthread.h>

namespace pyscale {
namespace {

bool forked = false;

// Run when the library is loaded, so before any fork that matters.
const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

}  // namespace

bool in_forked_child() {
    static_cast<void>(registered);
    return forked;
}

}  // namespace pyscale
