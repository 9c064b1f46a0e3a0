// The weights of a linear layer, in the order in which they are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace pyscale::dense {

enum class WeightType : uint8_t { float32, bfloat16, int8 };

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
// from -127 to 127 that are multiplied by the output's scale.
class Packed {
   public:
    // weights[output][input]. bfloat16: rounded to nearest, ties to even. Throws std::invalid_argument for
    // int8 with more than 65,536 inputs or weights that are not finite.
    Packed(const float* weights, size_t inputs, size_t outputs, WeightType type);

    size_t inputs() const { return inputs_; }
    size_t outputs() const { return outputs_; }
    WeightType type() const { return type_; }
    size_t whole_panels() const { return outputs_ / kPanel + (outputs_ % kPanel > kPanel / 2); }
    bool has_narrow_panel() const { return outputs_ % kPanel != 0 && outputs_ % kPanel <= kPanel / 2; }
    // Of int8, for outputs rounded up to 16: scales, and 128 times the sum of an output's whole numbers.
    const float* scales() const { return scales_.data(); }
    const int32_t* corrections() const { return corrections_.data(); }
    const void* data() const { return data_.get(); }
    size_t bytes() const { return bytes_; }

   private:
    size_t inputs_, outputs_, bytes_;
    WeightType type_;
    Pages data_;
    std::vector<float> scales_;
    std::vector<int32_t> corrections_;

    void pack_int8(const float* weights);
};

}  // namespace pyscale::dense
