#pragma once
// Copying between arrays of any alignment to each other.

#include <cstddef>

namespace pyscale {

// As memcpy, also for no bytes at null pointers, and for an array that is its own destination; no other
// overlap.
//
// The C library copies a few KiB and more with `rep movsb` where the processor says that this is fast. On
// AMD's Zen 3 and 4 it is several times slower than plain vectors wherever source and destination lie alike
// in their pages, which arrays and staging buffers, both page-aligned, always do.
void copy_bytes(void* to, const void* from, size_t bytes);

// The same by stores that go past the caches to memory. They fetch nothing, and leave no line that another
// core must be asked for: they win where the destination is larger than the cache, or is next read by a core
// that shares no cache with this one.
// Before another thread is told that the data is there, stream_fence() must be called.
void stream_bytes(void* to, const void* from, size_t bytes);
void stream_fence();

// Either way, whole: with its fence.
inline void copy_or_stream(void* to, const void* from, size_t bytes, bool streamed) {
    if (!streamed) return copy_bytes(to, from, bytes);
    stream_bytes(to, from, bytes);
    stream_fence();
}

}  // namespace pyscale
