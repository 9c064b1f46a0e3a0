// Rows copied by random indices with nothing around it: no Python, no checks, row sizes known to the compiler. A library for
// bench_rows.py, so that all contestants have the same memory. Built with OpenMP.
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr size_t kLine = 64;

// As anybody would write it.
void plain(const char* from, size_t row, const int64_t* indices, size_t count, char* to, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; ++i) std::memcpy(to + i * row, from + indices[i] * row, row);
}

void stream(char* to, const char* from, size_t bytes) {
#if defined(__AVX512F__)
    for (size_t k = 0; k < bytes; k += kLine) _mm512_stream_si512(reinterpret_cast<__m512i*>(to + k), _mm512_loadu_si512(from + k));
#elif defined(__x86_64__)
    for (size_t k = 0; k < bytes; k += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + k), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k)));
#else
    std::memcpy(to, from, bytes);
#endif
}

// As an expert would for one row size: prefetched into the second cache so many rows ahead, and written past the caches where `to`
// and the rows begin and end with lines.
template <size_t kRow, bool kStreams>
void tuned(const char* from, size_t, const int64_t* indices, size_t count, char* to, int threads) {
    constexpr size_t kAhead = kRow <= 256 ? 32 : kRow <= 8192 ? 8192 / kRow : 1, kPrefetched = kRow < 4096 ? kRow : 4096;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; ++i) {
        const char* ahead = from + indices[i + kAhead < count ? i + kAhead : count - 1] * kRow;
        for (size_t k = 0; k < kPrefetched; k += kLine) __builtin_prefetch(ahead + k, 0, 2);
        if (kStreams) {
            stream(to + i * kRow, from + indices[i] * kRow, kRow);
        } else {
            std::memcpy(to + i * kRow, from + indices[i] * kRow, kRow);
        }
    }
#ifdef __x86_64__
    if (kStreams) _mm_sfence();
#endif
}

template <size_t kRow>
bool run(int way, const char* from, const int64_t* indices, size_t count, char* to, int threads) {
    if (way == 1) return tuned<kRow, false>(from, kRow, indices, count, to, threads), true;
    if (kRow % kLine != 0 || reinterpret_cast<uintptr_t>(to) % kLine != 0) return false;
    return tuned<kRow, kRow % kLine == 0>(from, kRow, indices, count, to, threads), true;
}

}  // namespace

// By way 0: plain, 1: tuned, 2: tuned and past the caches; false where there is none for the row and `to`.
extern "C" bool copy_rows(int way, const char* from, size_t row, const int64_t* indices, size_t count, char* to, int threads) {
    if (way == 0) return plain(from, row, indices, count, to, threads), true;
    switch (row) {
        case 4: return run<4>(way, from, indices, count, to, threads);
        case 8: return run<8>(way, from, indices, count, to, threads);
        case 16: return run<16>(way, from, indices, count, to, threads);
        case 32: return run<32>(way, from, indices, count, to, threads);
        case 64: return run<64>(way, from, indices, count, to, threads);
        case 128: return run<128>(way, from, indices, count, to, threads);
        case 256: return run<256>(way, from, indices, count, to, threads);
        case 512: return run<512>(way, from, indices, count, to, threads);
        case 1024: return run<1024>(way, from, indices, count, to, threads);
        case 4096: return run<4096>(way, from, indices, count, to, threads);
        case 65536: return run<65536>(way, from, indices, count, to, threads);
        case 1048576: return run<1048576>(way, from, indices, count, to, threads);
        default: return false;
    }
}

// What the memory can do: the same bytes from one end to the other, past the caches.
extern "C" void copy_in_order(const char* from, char* to, size_t bytes, int threads) {
    const size_t lines = bytes / kLine;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t line = 0; line < lines; ++line) stream(to + line * kLine, from + line * kLine, kLine);
#ifdef __x86_64__
    _mm_sfence();
#endif
}
