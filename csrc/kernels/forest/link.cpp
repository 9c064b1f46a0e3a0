#include "kernels/forest/link.h"

#include <algorithm>
#include <cmath>

namespace pyscale::forest {

namespace {

template <class T, class F>
void each(T* values, size_t count, const F& f) {
    for (size_t i = 0; i < count; ++i) values[i] = f(values[i]);
}

// The largest is subtracted first; the sum is a double, as in XGBoost and LightGBM.
template <class T>
void softmax(T* row, size_t outputs) {
    const T largest = *std::max_element(row, row + outputs);
    double sum = 0;
    for (size_t o = 0; o < outputs; ++o) {
        row[o] = std::exp(row[o] - largest);
        sum += static_cast<double>(row[o]);
    }
    for (size_t o = 0; o < outputs; ++o) row[o] /= static_cast<T>(sum);
}

template <class T>
void apply_in(const Link& link, T* values, size_t rows, size_t outputs) {
    const size_t count = rows * outputs;
    const auto scale = static_cast<T>(link.scale);
    if (link.divisor != 1) {
        const auto divisor = static_cast<T>(link.divisor);
        each(values, count, [&](T x) { return x / divisor; });
    }
    switch (link.name) {
        case Link::Name::identity: break;
        case Link::Name::logistic:
            each(values, count, [&](T x) { return T{1} / (T{1} + std::exp(-scale * x)); });
            break;
        case Link::Name::softmax:
            for (size_t row = 0; row < rows; ++row) softmax(values + row * outputs, outputs);
            break;
        case Link::Name::exp: each(values, count, [](T x) { return std::exp(x); }); break;
        case Link::Name::log1p_exp: each(values, count, [](T x) { return std::log1p(std::exp(x)); }); break;
        case Link::Name::signed_square:
            each(values, count, [](T x) { return x < 0 ? -x * x : x * x; });
            break;
        case Link::Name::step: each(values, count, [](T x) { return T(x > 0); }); break;
        case Link::Name::argmax:
            for (size_t row = 0; row < rows; ++row) {
                T* const from = values + row * outputs;
                *from = static_cast<T>(std::max_element(from, from + outputs) - from);
            }
            break;
    }
}

}  // namespace

void apply(const Link& link, float* values, size_t rows, size_t outputs) {
    apply_in(link, values, rows, outputs);
}

void apply(const Link& link, double* values, size_t rows, size_t outputs) {
    apply_in(link, values, rows, outputs);
}

}  // namespace pyscale::forest
