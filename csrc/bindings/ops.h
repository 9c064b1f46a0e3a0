#pragma once

#include <stdexcept>
#include <string>

#include "kernels/reduce.h"

namespace pyscale {

inline Op parse_op(const std::string& text) {
    for (const Op op : kOps) {
        if (text == name(op)) return op;
    }
    throw std::invalid_argument("op: expected sum, mean, min, max or prod, got '" + text + "'");
}

}  // namespace pyscale
