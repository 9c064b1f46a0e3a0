// Layers one after the other, for any number of rows: the same bits whatever the batch and the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/aligned.h"
#include "kernels/dense/functions.h"
#include "kernels/dense/packed.h"

namespace pyscale::dense {

// Rows in any layout.
struct Input {
    const char* data;
    ptrdiff_t row_stride, column_stride;  // in bytes
    bool wide;                            // float64, else float32
};

class Dense {
   public:
    explicit Dense(size_t features);

    // Layers, in order. Throw std::invalid_argument where sizes do not fit.
    void add_linear(const float* weights, const float* bias, size_t inputs, size_t outputs, WeightType type);
    void add_linear_int8(const int8_t* weights, const float* scales, const float* bias, size_t inputs,
                         size_t outputs, const Levels& levels);
    // Becomes part of a linear layer that is last so far.
    void add_activation(Activation activation, float parameter);
    void add_softmax();
    // y = x * scale + shift; as the first layer, of the inputs in their own precision.
    void add_affine(const double* scale, const double* shift, size_t size);
    void add_layer_norm(const double* scale, const double* shift, size_t size, double epsilon);

    size_t features() const { return features_; }
    size_t outputs() const { return width_; }
    size_t weight_bytes() const;
    // Multiplications of a row, about.
    double work() const { return work_; }

    // out[row][output]. Safe in any number of threads at once. NaN comes out as the positive quiet one.
    void predict(const Input& input, size_t rows, float* out, int num_threads) const;

   private:
    enum class Kind : uint8_t { linear, activation, softmax, affine, layer_norm };
    struct Layer {
        Kind kind;
        Activation activation = Activation::identity;
        float parameter = 0;
        double epsilon = 0;
        size_t width = 0;  // after it
        std::unique_ptr<Packed> weights;
        LineVector<float> bias;
        std::vector<double> scale, shift;
    };
    void add_packed(std::unique_ptr<Packed> weights, const float* bias);
    const Levels* levels_after(size_t i) const;
    void check_size(const char* what, size_t size) const;
    void predict_tile(const Input& input, size_t first, size_t rows, float* out, int num_threads) const;
    // f(first, count, first output) of all panels of a layer, which threads divide if it is worth it.
    template <class F>
    static void over_panels(const Layer& layer, size_t rows, int num_threads, const F& f);
    void load(const Input& input, size_t first, size_t rows, float* to, size_t stride) const;

    size_t features_, width_, stride_;
    double work_ = 0;
    bool has_bytes_ = false;
    std::vector<Layer> layers_;
};

}  // namespace pyscale::dense
