// Which algorithm serves which size: calibrated by bench/calibrate.py, see docs/architecture.md.
#pragma once

#include <cstddef>
#include <string>

namespace pyscale {

enum class Algorithm {
    automatic,
    eager,     // the payload travels with the announcement; every rank reduces all of it
    one_shot,  // pieces through staging; every rank reduces all of each piece
    two_shot,  // pieces through staging; every rank reduces its slice of each piece, then all copy all slices
    direct,    // arrays in shared memory: every rank reduces its slice and writes it to all
};

const char* name(Algorithm);
// Throws std::invalid_argument for a name it does not know.
Algorithm parse_algorithm(const std::string& name);

struct Tuning {
    size_t eager_bytes;         // up to here, an ordinary array goes eagerly
    size_t eager_shared_bytes;  // the same for an array in shared memory
    size_t one_shot_bytes;  // above eager_bytes and up to here, an ordinary array goes by one_shot; beyond by
                            // two_shot
    size_t piece_bytes;     // of one staged piece
    size_t cache_bytes;  // from here on, all ranks' inputs and staged outputs do not stay in the last cache

    static Tuning for_ranks(int ranks, int cores);
};

}  // namespace pyscale
