// NumPy arrays as the kernels take them: the checks that memory safety needs, and no more.
#pragma once

#include <pybind11/numpy.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "core/dtype.h"

namespace pyscale {

namespace py = pybind11;

// NumPy's type number of ml_dtypes.bfloat16, which exists once that package is imported; -1 before.
inline int& bfloat16_type_number() {
    static int number = -1;
    return number;
}

inline std::optional<DType> dtype_of(int type_number) {
    using Api = py::detail::npy_api;
    switch (type_number) {
        case Api::NPY_BOOL_: return DType::boolean;
        case Api::NPY_BYTE_: return DType::int8;
        case Api::NPY_UBYTE_: return DType::uint8;
        case Api::NPY_SHORT_: return DType::int16;
        case Api::NPY_USHORT_: return DType::uint16;
        case Api::NPY_INT_: return DType::int32;
        case Api::NPY_UINT_: return DType::uint32;
        case Api::NPY_LONG_: return sizeof(long) == 8 ? DType::int64 : DType::int32;
        case Api::NPY_ULONG_: return sizeof(long) == 8 ? DType::uint64 : DType::uint32;
        case Api::NPY_LONGLONG_: return DType::int64;
        case Api::NPY_ULONGLONG_: return DType::uint64;
        case Api::NPY_FLOAT_: return DType::float32;
        case Api::NPY_DOUBLE_: return DType::float64;
        case 23: return DType::float16;  // NPY_HALF
        default: break;
    }
    if (type_number >= 0 && type_number == bfloat16_type_number()) return DType::bfloat16;
    return std::nullopt;
}

// An array as plain data. `of` gives none for what is not a C-contiguous, aligned array of a known type in
// native byte order.
struct Raw {
    void* data;
    DType dtype;
    int ndim;
    const py::ssize_t* shape;
    size_t count;
    bool writable;

    size_t bytes() const { return count * itemsize(dtype); }

    static std::optional<Raw> of(py::handle object) {
        const auto& api = py::detail::npy_api::get();
        if (!api.PyArray_Check_(object.ptr())) return std::nullopt;
        const auto* array = py::detail::array_proxy(object.ptr());
        constexpr int kPlain =
            py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
        if ((array->flags & kPlain) != kPlain) return std::nullopt;
        const auto* descr = py::detail::array_descriptor_proxy(array->descr);
        if (descr->byteorder == '>') return std::nullopt;
        const std::optional<DType> dtype = dtype_of(descr->type_num);
        if (!dtype) return std::nullopt;
        size_t count = 1;
        for (int d = 0; d < array->nd; ++d) count *= static_cast<size_t>(array->dimensions[d]);
        const bool writable = (array->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) != 0;
        return Raw{array->data, *dtype, array->nd, array->dimensions, count, writable};
    }

    // As `of`, and none for subclasses, whose meaning may be more than their data (masked arrays).
    static std::optional<Raw> of_exactly(py::handle object) {
        const bool exact = Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_;
        return exact ? of(object) : std::nullopt;
    }

    // As `of`, for callers that have checked already.
    static Raw require(py::handle object, const char* what, bool writable) {
        const std::optional<Raw> raw = of(object);
        if (!raw || (writable && !raw->writable)) {
            throw py::type_error(std::string(what) + ": expected a C-contiguous" +
                                 (writable ? ", writable" : "") + " array of a supported dtype, got " +
                                 std::string(py::repr(py::type::handle_of(object))));
        }
        return *raw;
    }

    // As above, and of that type and size.
    static Raw require(py::handle object, const char* what, DType dtype, size_t count, bool writable) {
        const Raw raw = require(object, what, writable);
        if (raw.dtype != dtype || raw.count != count) {
            throw py::value_error(std::string(what) + ": expected " + std::to_string(count) +
                                  " elements of " + name(dtype) + ", got " + std::to_string(raw.count) +
                                  " of " + name(raw.dtype));
        }
        return raw;
    }

    bool same_shape(const Raw& other) const {
        if (ndim != other.ndim) return false;
        for (int d = 0; d < ndim; ++d) {
            if (shape[d] != other.shape[d]) return false;
        }
        return true;
    }

    bool overlaps(const Raw& other) const {
        const auto* a = static_cast<const char*>(data);
        const auto* b = static_cast<const char*>(other.data);
        return a < b + other.bytes() && b < a + bytes();
    }
};

}  // namespace pyscale
