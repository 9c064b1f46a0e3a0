// Rows gathered and scattered, beside plain loops: every size of row, alignment and stride, at every ISA
// level.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/gather.h"

using namespace pyscale;

namespace {

constexpr unsigned char kUntouched = 0xA5;
constexpr size_t kAlways = 0, kNever = SIZE_MAX;  // to stream

using Bytes = std::vector<unsigned char>;

Bytes random_bytes(size_t count, unsigned seed) {
    std::mt19937_64 random(seed);
    Bytes bytes(count);
    for (auto& byte : bytes) byte = static_cast<unsigned char>(random());
    return bytes;
}

template <class T = int64_t>
std::vector<T> random_indices(size_t count, size_t rows, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<T> indices(count);
    for (auto& index : indices) index = static_cast<T>(random() % rows);
    return indices;
}

Indices view(const std::vector<int64_t>& indices) { return {indices.data(), true, indices.size()}; }
Indices view(const std::vector<int32_t>& indices) { return {indices.data(), false, indices.size()}; }

template <class F>
void at_every_level(F f) {
    for (const Isa level : available_isas()) {
        set_isa(level);
        f();
    }
    set_isa(best_isa());
}

// Rows of so many bytes in memory of their own, with room around.
struct Array {
    Bytes memory;
    size_t offset;
    int64_t stride;

    Array(size_t rows, size_t bytes, int64_t stride, size_t shift, bool filled) : stride(stride) {
        const size_t span = rows * static_cast<size_t>(std::abs(stride)) + bytes;
        memory = filled ? random_bytes(span + 256, 1) : Bytes(span + 256, kUntouched);
        const size_t aligned = -reinterpret_cast<uintptr_t>(memory.data()) % 64;
        offset =
            64 + aligned + shift + (stride < 0 && rows > 0 ? (rows - 1) * static_cast<size_t>(-stride) : 0);
    }
    const char* data() const { return reinterpret_cast<const char*>(memory.data()) + offset; }
    char* data() { return reinterpret_cast<char*>(memory.data()) + offset; }
    unsigned char* row(int64_t index) {
        return memory.data() + static_cast<ptrdiff_t>(offset) + index * stride;
    }
};

template <class T>
void check_gather(size_t bytes, size_t count, int64_t from_stride, int64_t to_stride, size_t shift,
                  int threads, size_t streamed) {
    constexpr size_t kRows = 37;
    Array from(kRows, bytes, from_stride, shift / 3, true), to(count, bytes, to_stride, shift, false);
    Array expected = to;
    const auto indices = random_indices<T>(count, kRows, static_cast<unsigned>(bytes));
    for (size_t i = 0; i < count; ++i)
        std::memcpy(expected.row(static_cast<int64_t>(i)), from.row(indices[i]), bytes);
    const Move move{from.data(), from_stride, to.data(), to_stride, bytes};
    gather(&move, 1, view(indices), threads, streamed);
    CHECK(to.memory == expected.memory);
}

std::vector<size_t> row_sizes() {
    std::vector<size_t> sizes;
    for (size_t bytes = 1; bytes <= 130; ++bytes) sizes.push_back(bytes);
    for (const size_t bytes : {255, 256, 257, 1000, 1023, 1024, 1025, 1087, 1088, 4096, 5001})
        sizes.push_back(bytes);
    return sizes;
}

}  // namespace

TEST(every_size_of_row_is_gathered) {
    at_every_level([] {
        for (const size_t bytes : row_sizes()) {
            const auto row = static_cast<int64_t>(bytes);
            for (const size_t shift : {0, 1, 16, 63}) {
                check_gather<int64_t>(bytes, 100, row, row, shift, 1, kNever);
                check_gather<int32_t>(bytes, 100, row + 5, row, shift, 1, kAlways);
            }
        }
    });
}

TEST(every_count_is_gathered) {
    at_every_level([] {
        for (const size_t count : {0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 5000}) {
            for (const size_t bytes : {1, 4, 12, 64, 1000, 1040}) {
                const auto row = static_cast<int64_t>(bytes);
                for (const size_t streamed : {kNever, kAlways}) {
                    check_gather<int64_t>(bytes, count, row, row, 16, 3, streamed);
                    check_gather<int32_t>(bytes, count, row, row, 0, 3, streamed);
                }
            }
        }
    });
}

TEST(every_stride_is_gathered) {
    for (const size_t bytes : {1, 8, 24, 72, 1100}) {
        const auto row = static_cast<int64_t>(bytes);
        for (const int64_t from : {row, 2 * row, row + 1, int64_t{0}, -row, -3 * row}) {
            for (const int64_t to : {row, row + 3, -row, -2 * row}) {
                check_gather<int64_t>(bytes, 200, from, to, 16, 2, kAlways);
                check_gather<int64_t>(bytes, 200, from, to, 16, 2, kNever);
            }
        }
    }
}

TEST(large_rows_are_gathered_in_pieces) {
    at_every_level([] {
        for (const size_t bytes : {131071, 131072, 131073, 131072 * 2 + 10, 300001}) {
            const auto row = static_cast<int64_t>(bytes);
            for (const size_t streamed : {kNever, kAlways})
                check_gather<int64_t>(bytes, 5, row, row, 16, 4, streamed);
        }
    });
}

TEST(columns_are_gathered_together) {
    const size_t sizes[] = {4, 0, 1, 5000, 200000, 8, 16};
    const auto indices = random_indices(3000, 20, 1);
    std::vector<Array> from, to;
    std::vector<Move> moves;
    for (const size_t bytes : sizes) {
        const size_t count = indices.size(), row = bytes;
        from.emplace_back(20, row, static_cast<int64_t>(row), 0, true);
        to.emplace_back(count, row, static_cast<int64_t>(row), 16, false);
    }
    for (size_t i = 0; i < from.size(); ++i)
        moves.push_back({from[i].data(), from[i].stride, to[i].data(), to[i].stride, sizes[i]});
    gather(moves.data(), moves.size(), view(indices), 3, kNever);
    for (size_t i = 0; i < from.size(); ++i) {
        bool right = true;
        for (size_t k = 0; k < indices.size(); ++k) {
            right = right &&
                    std::memcmp(to[i].row(static_cast<int64_t>(k)), from[i].row(indices[k]), sizes[i]) == 0;
        }
        CHECK(right);
    }
    gather(nullptr, 0, view(indices), 3);
}

TEST(the_last_of_equal_indices_is_scattered) {
    at_every_level([] {
        for (const size_t bytes : {0, 1, 3, 8, 24, 64, 72, 1000, 131073, 300000}) {
            const size_t count = bytes > 100000 ? 12 : 5000;
            for (const size_t rows : {size_t{1}, size_t{7}, count * 2}) {
                const auto row = static_cast<int64_t>(bytes);
                for (const int64_t stride : {row, row + 9, -row - 1}) {
                    Array from(count, bytes, row + 2, 5, true), to(rows, bytes, stride, 1, false),
                        expected = to;
                    const auto indices = random_indices(count, rows, 3);
                    for (size_t i = 0; i < count; ++i)
                        std::memcpy(expected.row(indices[i]), from.row(static_cast<int64_t>(i)), bytes);
                    const Move move{from.data(), from.stride, to.data(), to.stride, bytes};
                    const std::vector<int32_t> narrow(indices.begin(), indices.end());
                    for (const int threads : {1, 2, 5}) {
                        Array again = to;
                        const Move there{move.from, move.from_stride, again.data(), move.to_stride, bytes};
                        scatter(there, static_cast<int64_t>(rows), view(indices), threads);
                        CHECK(again.memory == expected.memory);
                    }
                    scatter(move, static_cast<int64_t>(rows), view(narrow), 3);
                    CHECK(to.memory == expected.memory);
                }
            }
        }
    });
}

TEST(the_first_index_outside_is_found) {
    at_every_level([] {
        for (const size_t count : {1, 2, 15, 64, 1000, 200000}) {
            auto wide = random_indices<int64_t>(count, 1000, 5);
            auto narrow = random_indices<int32_t>(count, 1000, 5);
            wide[0] = 999, narrow[count - 1] = 999;
            for (const int threads : {1, 4}) {
                CHECK_EQ(first_outside(view(wide), 1000, threads), count);
                CHECK_EQ(first_outside(view(narrow), 1000, threads), count);
                CHECK_EQ(first_outside(view(narrow), int64_t{1} << 40, threads), count);
                CHECK_EQ(first_outside(view(wide), INT64_MAX, threads), count);
                for (const size_t position : {size_t{0}, count / 2, count - 1}) {
                    for (const int64_t bad :
                         {int64_t{-1}, int64_t{1000}, INT64_MIN, INT64_MAX, int64_t{1} << 32}) {
                        auto changed = wide;
                        changed[position] = changed[count - 1] = bad;
                        CHECK_EQ(first_outside(view(changed), 1000, threads), position);
                    }
                    for (const int32_t bad : {-1, 1000, INT32_MIN, INT32_MAX}) {
                        auto changed = narrow;
                        changed[position] = changed[count - 1] = bad;
                        CHECK_EQ(first_outside(view(changed), 1000, threads), position);
                    }
                }
            }
        }
    });
    const std::vector<int64_t> none;
    CHECK_EQ(first_outside(view(none), 0, 2), size_t{0});
    CHECK_EQ(first_outside(view(std::vector<int64_t>{0}), 0, 2), size_t{0});
}

TEST(rows_beyond_four_gigabytes) {
    constexpr size_t kBytes = size_t{5} << 30;  // of addresses: only pages that are written take memory
    void* const memory =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    if (memory == MAP_FAILED) return;
    char* const data = static_cast<char*>(memory);
    const std::vector<int64_t> indices{4999999999, 0, 3000000000, 2147483648};
    for (const int64_t index : indices) data[index] = static_cast<char>(index % 101 + 1);
    char bytes[4] = {};
    const Move out{data, 1, bytes, 1, 1};
    CHECK_EQ(first_outside(view(indices), int64_t{5000000000}, 1), size_t{4});
    gather(&out, 1, view(indices), 1);
    for (size_t i = 0; i < 4; ++i)
        CHECK_EQ(static_cast<int>(bytes[i]), static_cast<int>(indices[i] % 101 + 1));
    const char new_bytes[] = {11, 12, 13, 14};
    scatter({new_bytes, 1, data, 1, 1}, 5000000000, view(indices), 2);
    for (size_t i = 0; i < 4; ++i) CHECK_EQ(static_cast<int>(data[indices[i]]), static_cast<int>(11 + i));

    const int64_t stride = int64_t{5} << 29;
    std::memcpy(data + stride, "far away", 8);
    char row[8];
    const Move far{data, stride, row, 8, 8};
    gather(&far, 1, view(std::vector<int32_t>{1}), 1);
    CHECK(std::memcmp(row, "far away", 8) == 0);
    munmap(memory, kBytes);
}
