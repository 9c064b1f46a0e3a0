// How this module was built, and the instruction set that its kernels use.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "core/isa.h"

namespace py = pybind11;

namespace pyscale {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "GCC " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

#if defined(_OPENMP)
constexpr bool kOpenMP = true;
#else
constexpr bool kOpenMP = false;
#endif

#if defined(__x86_64__)
const std::vector<std::string> kCompiledIsas = {"baseline", "avx2", "avx512"};
#else
const std::vector<std::string> kCompiledIsas = {"baseline"};
#endif

std::vector<std::string> available_names() {
    std::vector<std::string> names;
    for (Isa level : available_isas()) names.emplace_back(name(level));
    return names;
}

void set_isa_by_name(const std::string& wanted) {
    for (Isa level : available_isas()) {
        if (wanted == name(level)) return set_isa(level);
    }
    throw py::value_error("isa: expected one of available_isas(), got " + wanted);
}

}  // namespace

void bind_config(py::module_& m) {
    m.attr("compiler") = kCompiler;
    m.attr("openmp") = kOpenMP;
    m.def("compiled_isas", [] { return kCompiledIsas; });
    m.def("available_isas", &available_names);
    m.def("isa", [] { return std::string(name(isa())); });
    m.def("set_isa", &set_isa_by_name, py::arg("name"));
}

}  // namespace pyscale
