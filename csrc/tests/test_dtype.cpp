#include <algorithm>
#include <set>
#include <string>
#include <type_traits>

#include "check.h"
#include "core/dtype.h"
#include "core/isa.h"

using namespace pyscale;

TEST(names_and_sizes) {
    const char* names[] = {"bool",   "int8",   "int16",   "int32",    "int64",   "uint8",  "uint16",
                           "uint32", "uint64", "float16", "bfloat16", "float32", "float64"};
    const size_t sizes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8};
    CHECK_EQ(std::size(kDTypes), std::size(names));
    for (size_t i = 0; i < std::size(kDTypes); ++i) {
        CHECK_EQ(static_cast<size_t>(kDTypes[i]), i);
        CHECK_EQ(std::string(name(kDTypes[i])), names[i]);
        CHECK_EQ(itemsize(kDTypes[i]), sizes[i]);
    }
}

TEST(visit_gives_the_type) {
    CHECK(visit(DType::bfloat16, [](auto tag) { return std::is_same_v<decltype(tag), Tag<BFloat16>>; }));
    CHECK(visit(DType::boolean, [](auto tag) { return std::is_same_v<decltype(tag), Tag<bool>>; }));
    CHECK(visit(DType::int64, [](auto tag) { return std::is_same_v<decltype(tag), Tag<int64_t>>; }));
}

TEST(an_unknown_dtype_is_refused) {
    const auto unknown = static_cast<DType>(77);
    CHECK_THROWS(itemsize(unknown), std::invalid_argument, "got 77");
    CHECK_THROWS(name(unknown), std::invalid_argument, "got 77");
}

TEST(isa_levels) {
    const auto levels = available_isas();
    CHECK(!levels.empty() && levels.front() == Isa::baseline && levels.back() == best_isa());
    for (Isa level : levels) {
        set_isa(level);
        CHECK(isa() == level);
    }
    for (Isa level : {Isa::avx2, Isa::avx512}) {
        if (std::find(levels.begin(), levels.end(), level) == levels.end()) {
            CHECK_THROWS(set_isa(level), std::invalid_argument, "expected one of baseline");
        }
    }
}
