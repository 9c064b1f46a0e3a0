// What makes predictions of sums: see Link in pyscale/infer/forest/trees.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyscale::forest {

struct Link {
    enum class Name : uint8_t {
        identity,
        logistic,
        softmax,
        exp,
        log1p_exp,
        signed_square,
        step,
        argmax,
    };
    Name name = Name::identity;
    double divisor = 1;  // not 0
    double scale = 1;
};

// Of each of the rows, in the type of its sums and in place. `argmax` leaves the number in the first column.
void apply(const Link& link, float* values, size_t rows, size_t outputs);
void apply(const Link& link, double* values, size_t rows, size_t outputs);

}  // namespace pyscale::forest
