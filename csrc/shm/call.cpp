#include "shm/call.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace pyscale {

namespace {

constexpr uint64_t kShapeBits = 0xFFFFFFFFFF;

bool reduces(Collective collective) {
    return collective == Collective::all_reduce || collective == Collective::reduce_scatter;
}

bool moves_rows(Collective collective) {
    return collective == Collective::all_to_all || collective == Collective::all_to_all_counts ||
           collective == Collective::exchange;
}

}  // namespace

const char* name(Collective collective) {
    switch (collective) {
        case Collective::barrier: return "barrier";
        case Collective::all_reduce: return "all_reduce";
        case Collective::reduce_scatter: return "reduce_scatter";
        case Collective::all_gather: return "all_gather";
        case Collective::broadcast: return "broadcast";
        case Collective::all_to_all:
        case Collective::all_to_all_counts: return "all_to_all";
        case Collective::exchange: return "exchange";
        case Collective::all_gather_object: return "all_gather_object";
        case Collective::broadcast_object: return "broadcast_object";
        case Collective::split: return "split";
    }
    return "?";
}

Collective parse_collective(const std::string& text) {
    for (int value = 0; value <= static_cast<int>(Collective::split); ++value) {
        const auto collective = static_cast<Collective>(value);
        if (text == name(collective)) return collective;
    }
    throw std::invalid_argument("collective: expected the name of one, got '" + text + "'");
}

void Call::set_shape(const int64_t* dims, int count) {
    ndim = static_cast<int8_t>(count);
    uint64_t hash = static_cast<uint64_t>(count) + 1;
    for (int d = 0; d < count; ++d) {
        if (d < kMaxDims) shape[d] = dims[d];
        hash = (hash ^ static_cast<uint64_t>(dims[d])) *
               0x9E3779B97F4A7C15u;  // 2^64 / golden ratio: odd, so no dim is lost
        hash ^= hash >> 29;
    }
    shape_hash = hash;
}

uint64_t Call::signature() const {
    const uint64_t kind = static_cast<uint64_t>(collective) | static_cast<uint64_t>(op) << 4 |
                          static_cast<uint64_t>(dtype) << 8 | static_cast<uint64_t>(root & 0xFFF) << 12;
    return kind << 40 | (shape_hash & kShapeBits);
}

std::string Call::text() const {
    std::string text = name(collective);
    if (collective == Collective::broadcast_object) return text + "(root=" + std::to_string(root) + ")";
    if (collective == Collective::barrier || collective > Collective::exchange) return text + "()";
    text += "(";
    if (reduces(collective)) text += std::string("op=") + name(op) + ", ";
    if (root >= 0) text += "root=" + std::to_string(root) + ", ";
    if (collective == Collective::all_to_all_counts) text += "recv_counts=None, ";
    text += name(dtype);
    text += moves_rows(collective) ? ", rows of shape (" : ", shape (";
    const int kept = std::min<int>(ndim, kMaxDims);
    for (int d = 0; d < kept; ++d) text += std::to_string(shape[d]) + (d + 1 < kept ? ", " : "");
    if (ndim > kMaxDims) {
        char rest[64];  // tells apart what differs further on
        std::snprintf(rest, sizeof rest, ", …: %d dimensions, hash %010llx", ndim,
                      static_cast<unsigned long long>(shape_hash & kShapeBits));
        text += rest;
    }
    if (ndim == 1) text += ",";
    return text + "))";
}

}  // namespace pyscale
