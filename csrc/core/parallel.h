#pragma once
// The one parallel loop. Chunks depend on n and grain alone, never on the number of threads: kernels that
// combine per-chunk results in chunk order give the same bits with any number.

#include <algorithm>
#include <cstddef>
#include <exception>

#include "core/shared_loop.h"

namespace pyscale {

// As many as this machine has any use for: libgomp ends the process where it cannot start all it is asked
// for.
size_t most_threads();

// True in a child that was forked after this library was loaded.
bool in_forked_child();

// Calls f(begin, end) for each chunk of grain indices of 0..n-1, on at most num_threads threads: in no order.
// f may not fork. If calls throw, one of the exceptions is thrown again once all threads are done.
template <class F>
void parallel_for(size_t n, size_t grain, int num_threads, F&& f) {
    grain = std::max<size_t>(grain, 1);
    const size_t chunks = n / grain + (n % grain != 0);
    auto run = [&](size_t chunk) { f(chunk * grain, std::min(n, (chunk + 1) * grain)); };
#if defined(_OPENMP)
    if (num_threads > 1 && chunks > 1 && !in_forked_child()) {  // where libgomp would hang
        const auto threads = std::min({chunks, static_cast<size_t>(num_threads), most_threads()});
        std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) num_threads(static_cast<int>(threads))
        for (size_t chunk = 0; chunk < chunks; ++chunk) {
            try {
                run(chunk);
            } catch (...) {
#pragma omp critical(pyscale_error)
                error = std::current_exception();
            }
        }
        if (error) std::rethrow_exception(error);
        return;
    }
#else
    if (num_threads > 1 && chunks > 1) {
        SharedLoop(
            chunks, num_threads, [](void* own, size_t chunk) { (*static_cast<decltype(run)*>(own))(chunk); },
            &run)
            .finish();
        return;
    }
#endif
    for (size_t chunk = 0; chunk < chunks; ++chunk) run(chunk);
}

}  // namespace pyscale
