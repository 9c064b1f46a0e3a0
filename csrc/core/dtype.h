#pragma once
// The element types that pyscale works on, listed once.

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/half.h"

namespace pyscale {

// X(enumerator, NumPy's name, C++ type)
#define PYSCALE_DTYPES(X)             \
    X(boolean, "bool", bool)          \
    X(int8, "int8", int8_t)           \
    X(int16, "int16", int16_t)        \
    X(int32, "int32", int32_t)        \
    X(int64, "int64", int64_t)        \
    X(uint8, "uint8", uint8_t)        \
    X(uint16, "uint16", uint16_t)     \
    X(uint32, "uint32", uint32_t)     \
    X(uint64, "uint64", uint64_t)     \
    X(float16, "float16", Half)       \
    X(bfloat16, "bfloat16", BFloat16) \
    X(float32, "float32", float)      \
    X(float64, "float64", double)

enum class DType : uint8_t {
#define PYSCALE_X(enumerator, name, type) enumerator,
    PYSCALE_DTYPES(PYSCALE_X)
#undef PYSCALE_X
};

inline constexpr DType kDTypes[] = {
#define PYSCALE_X(enumerator, name, type) DType::enumerator,
    PYSCALE_DTYPES(PYSCALE_X)
#undef PYSCALE_X
};

// What visit() hands over: the C++ type as a value.
template <class T>
struct Tag {
    using type = T;
};

[[noreturn]] inline void throw_unknown_dtype(DType dtype) {
    throw std::invalid_argument("dtype: expected an enumerator of DType, got " +
                                std::to_string(static_cast<unsigned>(dtype)));
}

// Calls f(Tag<T>{}) with the C++ type T of dtype and returns what f returns.
template <class F>
decltype(auto) visit(DType dtype, F&& f) {
    switch (dtype) {
#define PYSCALE_X(enumerator, name, type) \
    case DType::enumerator: return f(Tag<type>{});
        PYSCALE_DTYPES(PYSCALE_X)
#undef PYSCALE_X
    }
    throw_unknown_dtype(dtype);
}

inline size_t itemsize(DType dtype) {
    return visit(dtype, [](auto tag) { return sizeof(typename decltype(tag)::type); });
}

inline const char* name(DType dtype) {
    switch (dtype) {
#define PYSCALE_X(enumerator, name, type) \
    case DType::enumerator: return name;
        PYSCALE_DTYPES(PYSCALE_X)
#undef PYSCALE_X
    }
    throw_unknown_dtype(dtype);
}

inline bool is_floating(DType dtype) {
    return dtype == DType::float16 || dtype == DType::bfloat16 || dtype == DType::float32 ||
           dtype == DType::float64;
}

}  // namespace pyscale
