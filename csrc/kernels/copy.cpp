#include "kernels/copy.h"

#include <cstdint>
#include <cstring>

#define PYSCALE_ISA_INC "kernels/copy.inc"
#include "core/for_each_isa.h"

namespace pyscale {

namespace {

constexpr size_t kSmall = 1024;  // below, the C library uses vectors too, and knows the odd sizes better

}  // namespace

void copy_bytes(void* to, const void* from, size_t bytes) {
    if (bytes == 0 || to == from) return;
    if (bytes < kSmall) {
        std::memcpy(to, from, bytes);
    } else {
        PYSCALE_PICK_ISA(copy_vectors)(static_cast<char*>(to), static_cast<const char*>(from), bytes);
    }
}

void stream_bytes(void* to, const void* from, size_t bytes) {
    if (bytes == 0 || to == from) return;
    PYSCALE_PICK_ISA(stream_vectors)(static_cast<char*>(to), static_cast<const char*>(from), bytes);
}

// The sanitizers see into vectors, not into this.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void copy_string(void* to, const void* from, size_t bytes) {
    if (to == from) return;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
#else
void copy_string(void* to, const void* from, size_t bytes) { copy_bytes(to, from, bytes); }
#endif

void stream_fence() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

}  // namespace pyscale
