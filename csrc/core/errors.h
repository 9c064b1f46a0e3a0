#pragma once
// How bad arguments are refused: std::invalid_argument, which the bindings turn into ValueError.

#include <stdexcept>
#include <string>

namespace pyscale {

[[noreturn]] inline void throw_expected(const std::string& what, const std::string& expected,
                                        const std::string& got) {
    throw std::invalid_argument(what + ": expected " + expected + ", got " + got);
}

}  // namespace pyscale
