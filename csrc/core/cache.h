#pragma once
// What is known of the machine's caches.

#include <cstddef>

namespace pyscale {

// Of the last one; of one of them, where there are several. Found once.
size_t last_cache_bytes();

}  // namespace pyscale
