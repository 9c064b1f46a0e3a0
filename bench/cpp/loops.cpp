// For loops.py: times one loop after another; built with OpenMP, on its threads instead of pyscale's.
//
//     loops THREADS MICROSECONDS PAUSE CALLS [busy]
//
// Each loop is of THREADS chunks of so many microseconds; PAUSE, in microseconds too, lies between two.
// `busy`: beside as many other processes that want a core all the time. Prints microseconds, a line for each
// call.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/parallel.h"

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

void compute(double microseconds) {
    const auto begin = Clock::now();
    while (Microseconds(Clock::now() - begin).count() < microseconds) continue;
}

void loop(int threads, double microseconds) {
    pyscale::parallel_for(static_cast<size_t>(threads), 1, threads,
                          [&](size_t, size_t) { compute(microseconds); });
}

void start_busy_process() {
    const pid_t parent = getpid();
    if (fork() != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) compute(1000);
    _exit(0);
}

}  // namespace

int main(int count, char** words) {
    if (count < 5) return 2;
    const int threads = std::atoi(words[1]), calls = std::atoi(words[4]);
    const double microseconds = std::atof(words[2]);
    const auto pause = std::chrono::microseconds(std::atol(words[3]));
    for (int i = 0; count > 5 && i < threads; ++i) start_busy_process();
    loop(threads, microseconds);
    for (int i = 0; i < calls; ++i) {
        if (pause.count() != 0) std::this_thread::sleep_for(pause);
        const auto begin = Clock::now();
        loop(threads, microseconds);
        std::printf("%.1f\n", Microseconds(Clock::now() - begin).count());
    }
}
