// The bare round trip through shared memory, in seconds: one process writes a cache line, the other answers in another.
#include "processes.h"

int main() {
    constexpr int batches = 25, trips = 20000;
    Line* lines = static_cast<Line*>(shared_memory(2 * sizeof(Line)));
    std::vector<double> seconds;
    in_processes(2, [&](int rank) {
        uint64_t trip = 0;
        for (int batch = 0; batch < batches; ++batch) {
            const double start = now();
            for (int i = 0; i < trips; ++i) {
                ++trip;
                if (rank == 0) lines[0].value.store(trip, std::memory_order_release);
                while (lines[1 - rank].value.load(std::memory_order_acquire) != trip) relax();
                if (rank == 1) lines[1].value.store(trip, std::memory_order_release);
            }
            seconds.push_back((now() - start) / trips);
        }
    });
    std::printf("%.9g\n", median(seconds));
}
