// The weights of a linear layer, in the order in which they are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace pyscale::dense {

enum class WeightType : uint8_t { float32, bfloat16, int8 };

// How numbers become bytes: zero + x / scale, rounded to the nearest and kept within 0 … 255. A scale of 0
// means that each row of inputs has one of its own, and a zero of 128.
struct Levels {
    float scale = 0;
    float factor = 0;  // 1 / scale
    int32_t zero = 128;
};

inline constexpr size_t kPanel = 32;  // outputs that lie together; half as many in the last panel of few

// Large blocks lie in large pages where the system has them: streaming weights goes through many.
struct FreePages {
    void operator()(void* p) const;
};
using Pages = std::unique_ptr<void, FreePages>;
Pages allocate_pages(size_t bytes);

// Panel p holds, for each input k, the weights of outputs 32 p … 32 p + 31, zeros beyond the last. Where
// nothing is left beyond its first 16 outputs, the last panel holds 16 for each input. Of bfloat16, a word of
// 32 bits holds output j of a panel in its lower half and output j + 16 in its upper; the narrow panel has
// upper halves of zeros.
//
// Of int8, a word holds the weights of an output for four inputs, zeros beyond the last, as whole numbers
// that are multiplied by the output's scale.
class Packed {
   public:
    // weights[output][input]; float32, or bfloat16: rounded to nearest, ties to even.
    Packed(const float* weights, size_t inputs, size_t outputs, WeightType type);
    // int8, and what the inputs' bytes mean. Throws std::invalid_argument for more than 65,536 inputs.
    Packed(const int8_t* weights, const float* scales, size_t inputs, size_t outputs, const Levels& levels);

    size_t inputs() const { return inputs_; }
    size_t outputs() const { return outputs_; }
    WeightType type() const { return type_; }
    size_t whole_panels() const { return outputs_ / kPanel + (outputs_ % kPanel > kPanel / 2); }
    bool has_narrow_panel() const { return outputs_ % kPanel != 0 && outputs_ % kPanel <= kPanel / 2; }
    size_t panels() const { return whole_panels() + has_narrow_panel(); }
    // Of int8.
    const Levels& levels() const { return levels_; }
    // For outputs rounded up to 16: scales, and the zero of the levels times the sum of an output's weights.
    const float* scales() const { return scales_.data(); }
    const int32_t* corrections() const { return corrections_.data(); }
    const void* data() const { return data_.get(); }
    size_t bytes() const { return bytes_; }

   private:
    size_t inputs_, outputs_, bytes_;
    WeightType type_;
    Pages data_;
    Levels levels_;
    std::vector<float> scales_;
    std::vector<int32_t> corrections_;
};

}  // namespace pyscale::dense
