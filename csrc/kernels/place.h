// Rows that go from where one list says to where another does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gather.h"

namespace pyscale {

// Row to[i] of each `to` becomes row from[i] of its `from`, or row i where `from` is null. All indices must
// have been checked. Of those of one place, the last stays.
void place(const Move* moves, size_t count, const uint32_t* from, const uint32_t* to, size_t rows);

}  // namespace pyscale
