// The float32 all-reduce of shared arrays with nothing around it: no Python, no checks, one type, one operation. Takes the number of
// processes and sizes in bytes; prints a line for each size: bytes, seconds in place, seconds out of place, each the least over the ways
// to do it.
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <cstring>

#include "processes.h"

namespace {

constexpr size_t kPayload = 512;  // bytes, beside the counter

typedef float Vector __attribute__((vector_size(64)));
constexpr size_t kStep = sizeof(Vector) / sizeof(float);

void stream(float* to, const Vector& sum) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, reinterpret_cast<const __m512&>(sum));
#elif defined(__x86_64__)
    for (size_t k = 0; k < kStep; k += 4) _mm_stream_ps(to + k, _mm_setr_ps(sum[k], sum[k + 1], sum[k + 2], sum[k + 3]));
#else
    std::memcpy(to, &sum, sizeof sum);
#endif
}

struct alignas(128) Letter {
    std::atomic<uint32_t> count{0};
    alignas(64) float payload[kPayload / sizeof(float)];
};

struct Job {
    int ranks, rank;
    Letter (*letters)[2];  // of each rank, in turn
    float** inputs;
    float** outputs;
    size_t elements;
    uint32_t calls = 0;

    Letter& letter(int of) const { return letters[of][calls % 2]; }

    void meet() {
        letter(rank).count.exchange(calls);
        const bool alone = ranks <= cores_;
        for (int k = 1; k < ranks; ++k) {
            const auto& count = letter((rank + k) % ranks).count;
            while (static_cast<int32_t>(count.load(std::memory_order_acquire) - calls) < 0) alone ? relax() : void(sched_yield());
        }
    }
    const int cores_ = cores();
};

// Each rank sums what lies beside the counters: one crossing.
void eager(Job& job) {
    ++job.calls;
    std::memcpy(job.letter(job.rank).payload, job.inputs[job.rank], job.elements * sizeof(float));
    job.meet();
    float* out = job.outputs[job.rank];
    for (size_t i = 0; i < job.elements; ++i) {
        float sum = job.letter(0).payload[i];
        for (int rank = 1; rank < job.ranks; ++rank) sum += job.letter(rank).payload[i];
        out[i] = sum;
    }
}

// Each rank sums its share of all arrays into all of them: two crossings.
template <int kRanks, bool kStreams>
void direct(Job& job) {
    ++job.calls;
    job.meet();
    const size_t share = (job.elements / kRanks + 15) / 16 * 16;
    const size_t begin = std::min(job.elements, share * job.rank), end = std::min(job.elements, begin + share);
    const float* inputs[kRanks];
    float* outputs[kRanks];
    for (int rank = 0; rank < kRanks; ++rank) inputs[rank] = job.inputs[rank], outputs[rank] = job.outputs[rank];
    size_t i = begin;
    for (; i + kStep <= end; i += kStep) {
        Vector sum = *reinterpret_cast<const Vector*>(inputs[0] + i);
        for (int rank = 1; rank < kRanks; ++rank) sum += *reinterpret_cast<const Vector*>(inputs[rank] + i);
        for (int rank = 0; rank < kRanks; ++rank) {
            kStreams ? stream(outputs[rank] + i, sum) : void(*reinterpret_cast<Vector*>(outputs[rank] + i) = sum);
        }
    }
    for (; i < end; ++i) {
        float sum = inputs[0][i];
        for (int rank = 1; rank < kRanks; ++rank) sum += inputs[rank][i];
        for (int rank = 0; rank < kRanks; ++rank) outputs[rank][i] = sum;
    }
#ifdef __x86_64__
    if (kStreams) _mm_sfence();
#endif
    ++job.calls;
    job.meet();
}

using Way = void (*)(Job&);

// Seconds a call, the median over batches of the slowest rank's.
double time_calls(Way way, int ranks, Letter (*letters)[2], float** inputs, float** outputs, size_t elements) {
    constexpr int batches = 11;
    constexpr double batch_seconds = 0.01;
    struct Shared {
        int calls;
        double seconds[batches][64];
    };
    Shared* shared = static_cast<Shared*>(shared_memory(sizeof(Shared)));
    for (int rank = 0; rank < ranks; ++rank) {
        for (int turn = 0; turn < 2; ++turn) letters[rank][turn].count = 0;
    }
    in_processes(ranks, [&](int rank) {
        Job job{ranks, rank, letters, inputs, outputs, elements};
        const double start = now();
        for (int i = 0; i < 4; ++i) way(job);
        if (rank == 0) shared->calls = std::max(4, static_cast<int>(batch_seconds / ((now() - start) / 4)));
        way(job), way(job);  // rank 0 has said how many
        const int calls = shared->calls;
        for (int batch = 0; batch < batches; ++batch) {
            ++job.calls;
            job.meet();
            const double begin = now();
            for (int i = 0; i < calls; ++i) way(job);
            shared->seconds[batch][rank] = (now() - begin) / calls;
        }
    });
    std::vector<double> slowest;
    for (const auto& seconds : shared->seconds) slowest.push_back(*std::max_element(seconds, seconds + ranks));
    munmap(shared, sizeof(Shared));
    return median(slowest);
}

template <int kRanks>
void time_sizes(int sizes, char** texts) {
    auto* letters = static_cast<Letter(*)[2]>(shared_memory(kRanks * sizeof(Letter[2])));
    for (int i = 0; i < sizes; ++i) {
        const size_t bytes = std::strtoull(texts[i], nullptr, 10);
        float *inputs[kRanks], *outputs[kRanks];
        for (float*& array : inputs) array = static_cast<float*>(shared_memory(bytes));
        for (float*& array : outputs) array = static_cast<float*>(shared_memory(bytes));
        std::printf("%zu", bytes);
        for (float** to : {inputs, outputs}) {
            double least = 1e9;
            for (const Way way : {Way(eager), Way(direct<kRanks, false>), Way(direct<kRanks, true>)}) {
                if (way == eager && bytes > kPayload) continue;
                least = std::min(least, time_calls(way, kRanks, letters, inputs, to, bytes / sizeof(float)));
            }
            std::printf(" %.9g", least);
        }
        std::printf("\n");
        std::fflush(stdout);
        for (float* array : inputs) munmap(array, bytes);
        for (float* array : outputs) munmap(array, bytes);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int ranks = argc > 1 ? std::atoi(argv[1]) : 0;
    switch (ranks) {
        case 2: time_sizes<2>(argc - 2, argv + 2); return 0;
        case 4: time_sizes<4>(argc - 2, argv + 2); return 0;
        case 8: time_sizes<8>(argc - 2, argv + 2); return 0;
    }
    std::fprintf(stderr, "usage: bare 2|4|8 BYTES...\n");
    return 2;
}
