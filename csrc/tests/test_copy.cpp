// Copies of every alignment and size, past the caches and through them, at every ISA level.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/copy.h"

using namespace pyscale;

namespace {

constexpr size_t kRoom = 9000;

template <Writes writes>
void copy(void* to, const void* from, size_t bytes) {
    copy_by(writes, to, from, bytes);
}
constexpr void (*kCopies[])(void*, const void*, size_t) = {copy<Writes::cached>, copy<Writes::streamed>,
                                                           copy<Writes::string>};
static_assert(sizeof kCopies / sizeof *kCopies == kWrites);

void check_copies(void (*copy)(void*, const void*, size_t)) {
    std::vector<unsigned char> from(kRoom), to(kRoom);
    for (size_t i = 0; i < kRoom; ++i) from[i] = static_cast<unsigned char>(i * 7 + i / 256);
    const size_t sizes[] = {0, 1, 15, 63, 64, 65, 127, 128, 129, 1000, 1023, 1024, 1025, 4096, 4099, 8191};
    for (const size_t size : sizes) {
        for (const size_t source : {0, 1, 16, 40, 63}) {
            for (const size_t target : {0, 1, 7, 32, 63, 64}) {
                std::fill(to.begin(), to.end(), static_cast<unsigned char>(0xA5));
                copy(to.data() + target, from.data() + source, size);
                bool right = true;
                for (size_t i = 0; i < kRoom; ++i) {
                    const bool inside = i >= target && i < target + size;
                    right = right && to[i] == (inside ? from[i - target + source] : 0xA5);
                }
                CHECK(right);
            }
        }
    }
}

}  // namespace

TEST(copies_what_it_should_and_no_more) {
    for (const Isa level : available_isas()) {
        set_isa(level);
        for (const auto copy : kCopies) check_copies(copy);
    }
    set_isa(best_isa());
}

TEST(nothing_at_null_pointers_and_onto_itself) {
    std::vector<char> data(5000, 'x');
    for (const auto copy : kCopies) {
        copy(nullptr, nullptr, 0);
        copy(data.data(), data.data(), data.size());
    }
    CHECK(data == std::vector<char>(5000, 'x'));
}
