// A forest as Python has it: with its link, and answers in arrays.
#pragma once

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "kernels/forest/forest.h"

namespace pyscale {

struct PyForest {
    enum class Answer : uint8_t { raw, linked, proba };
    static constexpr const char* kName = "pyscale.forest";

    PyForest(const forest::Trees& trees, int num_threads)
        : forest(trees, num_threads), threads(num_threads) {}

    DType dtype() const { return forest.narrow_sums() ? DType::float32 : DType::float64; }

    size_t columns(Answer answer) const {
        const auto outputs = static_cast<size_t>(forest.outputs());
        if (answer == Answer::linked && link.name == forest::Link::Name::argmax) return 1;
        return answer == Answer::proba && outputs == 1 ? 2 : outputs;
    }

    // An array for so many rows.
    py::object empty(Answer answer, size_t rows) const;

    // Gives up Python's lock where that is worth it.
    void run(const forest::Input& input, size_t rows, size_t begin, size_t end, Answer answer, void* out,
             int num_threads, forest::Engine engine = forest::Engine::choose) const;

    forest::Forest forest;
    forest::Link link;  // whose divisor 0 stands for the rounds
    size_t trees_per_round = 1;
    int threads;                // where a caller does not say
    bool gives_labels = false;  // which the short way does not
    bool classifies = false;
};

void bind_forest_methods(py::module_& m);

}  // namespace pyscale
