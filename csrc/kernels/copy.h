#pragma once
// Copying between arrays of any alignment to each other.

#include <cstddef>
#include <cstdint>

namespace pyscale {

// As memcpy, also for no bytes at null pointers, and for an array that is its own destination; no other
// overlap. By vectors, whatever the size.
void copy_bytes(void* to, const void* from, size_t bytes);

// The same by stores that go past the caches to memory. They fetch nothing, and leave no line that another
// core must be asked for: they win where the destination is larger than the cache, or is next read by a core
// that shares no cache with this one.
// Before another thread is told that the data is there, stream_fence() must be called.
void stream_bytes(void* to, const void* from, size_t bytes);
void stream_fence();

// The same by the processor's string instruction (`rep movsb`; elsewhere as copy_bytes). It may take over
// whole lines without asking for what is in them, and on AMD's Zen 5 it does: half as much again as vectors
// reach, where another core has the lines. On Zen 3 it is several times slower wherever source and
// destination lie alike in their pages, which arrays and staging buffers, both page-aligned, always do.
void copy_string(void* to, const void* from, size_t bytes);

// The ways to write the destination of a copy. Which is the fastest depends on the processor, and on who
// reads it next.
enum class Writes : uint8_t { cached, streamed, string };
constexpr int kWrites = 3;

// Any of them, whole: with its fence.
inline void copy_by(Writes writes, void* to, const void* from, size_t bytes) {
    switch (writes) {
        case Writes::cached: return copy_bytes(to, from, bytes);
        case Writes::streamed: stream_bytes(to, from, bytes); return stream_fence();
        case Writes::string: return copy_string(to, from, bytes);
    }
}

}  // namespace pyscale
