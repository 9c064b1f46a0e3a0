#include "kernels/dense/dense.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/callers.h"
#include "core/errors.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/dense/multiply.h"
#include "kernels/dense/multiply_int8.h"

namespace pyscale::dense {

namespace {

constexpr size_t kMostTogether = 112, kFewestTogether = 56;  // rows of a tile
constexpr size_t kTileBytes = 512 << 10;                     // that its numbers should fit
constexpr size_t kMostBytes = 64 << 20;                      // that a tile of more than one row may take
constexpr size_t kFew = 8;             // rows that are taken from where they are, whatever their stride
constexpr size_t kLeastOfAThread = 8;  // rows of a tile, where threads divide rows
constexpr double kWorthATeam = 2.5e6;  // multiplications from which a second thread helps
constexpr double kWorthALayer = 1e6;   // of a layer whose outputs threads divide

size_t round_up(size_t x, size_t to) { return (x + to - 1) / to * to; }

// Floats from row to row: not a multiple of what maps to the same lines of a cache.
size_t stride_for(size_t width) {
    const size_t stride = round_up(std::max<size_t>(width, 1), 16);
    return stride % 256 == 0 ? stride + 16 : stride;
}

thread_local Scratch scratch;

template <class T>
T at(const char* p) {
    return *reinterpret_cast<const T*>(p);
}

// The reading loops know where the next column is: the common case is a plain copy.
template <class T, class F>
void load_rows(const Input& input, size_t first, size_t rows, size_t columns, float* to, size_t stride,
               const F& f) {
    const char* const begin = input.data + static_cast<ptrdiff_t>(first) * input.row_stride;
    if (input.column_stride == static_cast<ptrdiff_t>(sizeof(T))) {
        for (size_t row = 0; row < rows; ++row) {
            const char* const from = begin + static_cast<ptrdiff_t>(row) * input.row_stride;
            for (size_t c = 0; c < columns; ++c) to[row * stride + c] = f(at<T>(from + c * sizeof(T)), c);
        }
        return;
    }
    for (size_t c = 0; c < columns; ++c) {
        const char* const from = begin + static_cast<ptrdiff_t>(c) * input.column_stride;
        for (size_t row = 0; row < rows; ++row) {
            to[row * stride + c] = f(at<T>(from + static_cast<ptrdiff_t>(row) * input.row_stride), c);
        }
    }
}

template <class F>
void load_either(const Input& input, size_t first, size_t rows, size_t columns, float* to, size_t stride,
                 const F& f) {
    if (input.wide) {
        load_rows<double>(input, first, rows, columns, to, stride, f);
    } else {
        load_rows<float>(input, first, rows, columns, to, stride, f);
    }
}

}  // namespace

Dense::Dense(size_t features) : features_(features), width_(features), stride_(stride_for(features)) {
    if (features == 0) throw_expected("features", "1 or more", "0");
}

void Dense::check_size(const char* what, size_t size) const {
    if (size != width_) {
        throw_expected("layers[" + std::to_string(layers_.size()) + "]: " + what,
                       std::to_string(width_) + " inputs", std::to_string(size));
    }
}

void Dense::add_linear(const float* weights, const float* bias, size_t inputs, size_t outputs,
                       WeightType type) {
    check_size("linear", inputs);
    if (outputs == 0) throw_expected("linear", "1 output or more", "0");
    add_packed(std::make_unique<Packed>(weights, inputs, outputs, type), bias);
}

void Dense::add_linear_int8(const int8_t* weights, const float* scales, const float* bias, size_t inputs,
                            size_t outputs, const Levels& levels) {
    check_size("linear", inputs);
    if (outputs == 0) throw_expected("linear", "1 output or more", "0");
    add_packed(std::make_unique<Packed>(weights, scales, inputs, outputs, levels), bias);
}

void Dense::add_packed(std::unique_ptr<Packed> weights, const float* bias) {
    const size_t inputs = weights->inputs(), outputs = weights->outputs();
    Layer layer;
    layer.kind = Kind::linear;
    layer.width = outputs;
    has_bytes_ = has_bytes_ || weights->type() == WeightType::int8;
    layer.weights = std::move(weights);
    layer.bias.assign(round_up(outputs, 16), 0.0f);
    if (bias != nullptr) std::copy(bias, bias + outputs, layer.bias.begin());
    layers_.push_back(std::move(layer));
    width_ = outputs;
    stride_ = std::max(stride_, stride_for(outputs));
    work_ += static_cast<double>(inputs) * static_cast<double>(round_up(outputs, 16));
}

void Dense::add_activation(Activation activation, float parameter) {
    if (activation == Activation::identity) return;
    if (activation > Activation::leaky_relu) work_ += 40.0 * static_cast<double>(width_);
    if (!layers_.empty() && layers_.back().kind == Kind::linear &&
        layers_.back().activation == Activation::identity) {
        layers_.back().activation = activation;
        layers_.back().parameter = parameter;
        return;
    }
    Layer layer;
    layer.kind = Kind::activation;
    layer.activation = activation;
    layer.parameter = parameter;
    layer.width = width_;
    layers_.push_back(std::move(layer));
}

void Dense::add_softmax() {
    Layer layer;
    layer.kind = Kind::softmax;
    layer.width = width_;
    layers_.push_back(std::move(layer));
    work_ += 40.0 * static_cast<double>(width_);
}

void Dense::add_affine(const double* scale, const double* shift, size_t size) {
    check_size("affine", size);
    Layer layer;
    layer.kind = Kind::affine;
    layer.width = width_;
    layer.scale.assign(scale, scale + size);
    layer.shift.assign(shift, shift + size);
    layers_.push_back(std::move(layer));
}

void Dense::add_layer_norm(const double* scale, const double* shift, size_t size, double epsilon) {
    check_size("layer norm", size);
    add_affine(scale, shift, size);
    layers_.back().kind = Kind::layer_norm;
    layers_.back().epsilon = epsilon;
    work_ += 20.0 * static_cast<double>(width_);
}

size_t Dense::weight_bytes() const {
    size_t bytes = 0;
    for (const Layer& layer : layers_) {
        if (layer.weights) bytes += layer.weights->bytes();
    }
    return bytes;
}

void Dense::load(const Input& input, size_t first, size_t rows, float* to, size_t stride) const {
    if (!layers_.empty() && layers_[0].kind == Kind::affine) {
        const double* const scale = layers_[0].scale.data();
        const double* const shift = layers_[0].shift.data();
        load_either(input, first, rows, features_, to, stride, [=](auto x, size_t c) {
            return static_cast<float>(static_cast<double>(x) * scale[c] + shift[c]);
        });
    } else {
        load_either(input, first, rows, features_, to, stride,
                    [](auto x, size_t) { return static_cast<float>(x); });
    }
}

// Of the layer behind one, if that can take bytes from it.
const Levels* Dense::levels_after(size_t i) const {
    if (i + 1 == layers_.size() || layers_[i + 1].kind != Kind::linear) return nullptr;
    const Packed& next = *layers_[i + 1].weights;
    return next.type() == WeightType::int8 && next.levels().scale != 0 ? &next.levels() : nullptr;
}

template <class F>
void Dense::over_panels(const Layer& layer, size_t rows, int num_threads, const F& f) {
    const size_t panels = layer.weights->panels();
    const double work = static_cast<double>(layer.weights->inputs()) * static_cast<double>(layer.width);
    size_t parts = work * static_cast<double>(rows) < kWorthALayer ? 1 : static_cast<size_t>(num_threads);
    const size_t part = (panels + parts - 1) / parts;
    parallel_for(panels, part, num_threads,
                 [&](size_t first, size_t end) { f(first, end - first, first * kPanel); });
}

void Dense::predict_tile(const Input& input, size_t first, size_t rows, float* out, int num_threads) const {
    // Two tiles of numbers, and two of bytes and the scales of rows where there are any.
    const size_t numbers = 2 * rows * stride_ * sizeof(float);
    const size_t byte_room =
        has_bytes_ ? round_up(rows, 16) * sizeof(float) + 2 * rows * int8_stride(stride_) : 0;
    auto* here = static_cast<float*>(scratch.get(numbers + byte_room));
    float* there = here + rows * stride_;
    float* const scales = there + rows * stride_;
    auto* bytes_here = reinterpret_cast<uint8_t*>(scales + round_up(rows, 16));
    auto* bytes_there = bytes_here + rows * int8_stride(stride_);
    bool has_bytes = false;
    size_t begin = 0;
    const float* x = here;
    size_t ldx = stride_for(features_);
    const bool plain = !input.wide && input.column_stride == sizeof(float) && input.row_stride > 0 &&
                       input.row_stride % static_cast<ptrdiff_t>(sizeof(float)) == 0;
    // Rows that many lines apart would meet in the same places of a cache.
    const bool apart = rows <= kFew || input.row_stride % 1024 != 0;
    if (plain && apart && !layers_.empty() && layers_[0].kind == Kind::linear) {
        x = reinterpret_cast<const float*>(input.data + static_cast<ptrdiff_t>(first) * input.row_stride);
        ldx = static_cast<size_t>(input.row_stride) / sizeof(float);
    } else {
        load(input, first, rows, here, ldx);
        begin = !layers_.empty() && layers_[0].kind == Kind::affine;
    }
    for (size_t i = begin; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        if (layer.kind == Kind::linear) {
            const size_t ldy = stride_for(layer.width);
            if (layer.weights->type() == WeightType::int8) {
                const Levels* const next = levels_after(i);
                if (!has_bytes) {
                    quantize(layer.weights->levels(), x, ldx, rows, layer.weights->inputs(), bytes_here,
                             scales);
                }
                over_panels(layer, rows, num_threads, [&](size_t first_panel, size_t count, size_t at) {
                    multiply_int8(*layer.weights, first_panel, count, layer.bias.data() + at, bytes_here,
                                  scales, rows, layer.activation, layer.parameter,
                                  {there + at, ldy, next, bytes_there + at});
                });
                has_bytes = next != nullptr;
                if (has_bytes) {
                    for (size_t row = 0; row < rows; ++row) {
                        if (scales[row] == scales[row]) scales[row] = next->scale;
                    }
                    std::swap(bytes_here, bytes_there);
                    continue;
                }
            } else {
                over_panels(layer, rows, num_threads, [&](size_t first_panel, size_t count, size_t at) {
                    multiply(*layer.weights, first_panel, count, layer.bias.data() + at, x, ldx, rows,
                             layer.activation, layer.parameter, there + at, ldy);
                });
            }
            std::swap(here, there);
            x = here;
            ldx = ldy;
            continue;
        }
        for (size_t row = 0; row < rows; ++row) {
            float* const values = here + row * ldx;
            switch (layer.kind) {
                case Kind::activation: apply(layer.activation, layer.parameter, values, layer.width); break;
                case Kind::softmax: softmax(values, layer.width); break;
                case Kind::affine:
                    scale_and_shift(values, layer.width, layer.scale.data(), layer.shift.data());
                    break;
                default:
                    normalize(values, layer.width, layer.epsilon, layer.scale.data(), layer.shift.data());
            }
        }
    }
    // Which NaN an addition gives differs between machines.
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    for (size_t row = 0; row < rows; ++row) {
        const float* const from = x + row * ldx;
        float* const to = out + row * width_;
        for (size_t c = 0; c < width_; ++c) to[c] = from[c] != from[c] ? nan : from[c];
    }
}

void Dense::predict(const Input& input, size_t rows, float* out, int num_threads) const {
    if (rows == 0) return;
    const size_t fits = kTileBytes / (2 * stride_ * sizeof(float));
    size_t tile = std::clamp(fits, kFewestTogether, kMostTogether);
    // Few rows of what is very wide.
    tile = std::min(tile, std::max<size_t>(kMostBytes / (2 * stride_ * sizeof(float)), 1));
    const Caller caller;
    num_threads = work_ * static_cast<double>(rows) < kWorthATeam ? 1 : caller.share_of(num_threads);
    if (num_threads > 1) {
        const auto threads = static_cast<size_t>(num_threads);
        if (rows < threads * std::min(kLeastOfAThread, tile)) {
            // Each thread reads a part of the weights, which is what few rows wait for.
            for (size_t first = 0; first < rows; first += tile) {
                predict_tile(input, first, std::min(tile, rows - first), out + first * width_, num_threads);
            }
            return;
        }
        // As many tiles for each thread, of about one size: none waits for another's last one.
        const size_t share = (rows + threads - 1) / threads, tiles = (share + tile - 1) / tile;
        tile = std::max(std::min(kLeastOfAThread, tile), (share + tiles - 1) / tiles);
    }
    parallel_for(rows, tile, num_threads, [&](size_t begin, size_t end) {
        predict_tile(input, begin, end - begin, out + begin * width_, 1);
    });
}

}  // namespace pyscale::dense
