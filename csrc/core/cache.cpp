#include "core/cache.h"

#include <unistd.h>

#include <fstream>

namespace pyscale {

namespace {

// The C library is asked last: on AMD's processors it may know only the sum of all that the package has.
size_t find_last_cache_bytes() {
    constexpr size_t kUsual = 32 << 20;
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");  // "32768K"
    size_t kilobytes = 0;
    if (file >> kilobytes && kilobytes > 0) return kilobytes << 10;
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (bytes > 0) return static_cast<size_t>(bytes);
#endif
    return kUsual;
}

}  // namespace

size_t last_cache_bytes() {
    static const size_t bytes = find_last_cache_bytes();
    return bytes;
}

}  // namespace pyscale
