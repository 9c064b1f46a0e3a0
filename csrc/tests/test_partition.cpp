// Rows sorted by destination: beside a plain loop, at every ISA level, for rows and windows of any size.
#include <cstring>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "kernels/partition.h"

using namespace pyscale;

namespace {

constexpr size_t kRanks = 5;
using Bytes = std::vector<std::byte>;

uint32_t random(uint64_t i) { return static_cast<uint32_t>((i + 1) * 0x9E3779B97F4A7C15u >> 35); }

template <class T>
std::vector<T> some_destinations(size_t count, size_t ranks) {
    std::vector<T> to(count);
    for (size_t i = 0; i < count; ++i) to[i] = static_cast<T>(random(i) % ranks);
    return to;
}

template <class T>
Destinations view(const std::vector<T>& to, DType dtype, ptrdiff_t step = 1) {
    return {reinterpret_cast<const std::byte*>(to.data()), step * static_cast<ptrdiff_t>(sizeof(T)), dtype};
}

Bytes some_bytes(size_t count) {
    Bytes bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(random(i * 3));
    return bytes;
}

// What each rank gets, window after window; a guard of 0xA5 follows.
std::vector<Bytes> sorted(const Rows& rows, const Destinations& destinations, size_t ranks, size_t window) {
    Partition partition(rows, destinations, ranks, window);
    std::vector<Bytes> got(ranks);
    for (size_t w = 0; w < partition.windows() + 2; ++w) {
        partition.read(w);
        std::vector<Bytes> parts;
        std::vector<std::byte*> cursors;
        for (size_t rank = 0; rank < ranks; ++rank) {
            parts.emplace_back(partition.bytes(rank) + 64, std::byte{0xA5});
        }
        for (Bytes& part : parts) cursors.push_back(part.data());
        partition.write(cursors.data());
        for (size_t rank = 0; rank < ranks; ++rank) {
            const auto end = parts[rank].end() - 64;
            CHECK(cursors[rank] == &*parts[rank].begin() + partition.bytes(rank));
            for (auto it = end; it != parts[rank].end(); ++it) CHECK(*it == std::byte{0xA5});
            got[rank].insert(got[rank].end(), parts[rank].begin(), end);
        }
        CHECK(w < partition.windows() || cursors[0] == parts[0].data());
    }
    return got;
}

template <class T>
std::vector<Bytes> expected(const Rows& rows, const std::vector<T>& to, size_t step = 1) {
    std::vector<Bytes> all(kRanks);
    for (size_t i = 0; i < rows.count; ++i) {
        const std::byte* const row = rows.data + static_cast<ptrdiff_t>(i) * rows.stride;
        Bytes& target = all[static_cast<size_t>(to[i * step])];
        target.insert(target.end(), row, row + rows.bytes);
    }
    return all;
}

}  // namespace

TEST(rows_of_every_size_go_where_they_should) {
    const size_t sizes[] = {1,  2,  3,  4,  5,  7,  8,  9,   12,  15,  16,   17,
                            31, 32, 33, 48, 63, 64, 65, 100, 128, 200, 1000, 5000};
    for (const Isa level : available_isas()) {
        set_isa(level);
        for (const size_t bytes : sizes) {
            for (const size_t count : {size_t{0}, size_t{1}, size_t{300}}) {
                const Bytes data = some_bytes(count * bytes + 1);
                const auto to = some_destinations<int32_t>(count, kRanks);
                // At an odd address.
                const Rows rows{data.data() + 1, static_cast<ptrdiff_t>(bytes), bytes, count};
                for (const size_t window : {size_t{1}, size_t{64}, size_t{1000}, size_t{1} << 20}) {
                    if (bytes / window * count > 100000) continue;
                    CHECK(sorted(rows, view(to, DType::int32), kRanks, window) == expected(rows, to));
                }
            }
        }
    }
    set_isa(best_isa());
}

TEST(rows_apart_backwards_and_all_the_same) {
    const Bytes data = some_bytes(300 * 40);
    const auto to = some_destinations<uint8_t>(300, kRanks);
    for (const Rows& rows : {Rows{data.data() + 3, 40, 20, 300}, Rows{data.data() + 299 * 40, -40, 40, 300},
                             Rows{data.data(), 0, 40, 300}}) {
        CHECK(sorted(rows, view(to, DType::uint8), kRanks, 500) == expected(rows, to));
    }
}

template <class T>
void check_type(DType dtype) {
    const Bytes data = some_bytes(5000 * 4);
    const Rows rows{data.data(), 4, 4, 5000};
    for (const size_t step : {size_t{1}, size_t{3}}) {
        auto to = some_destinations<T>(5000 * step, kRanks);
        const Destinations seen = view(to, dtype, static_cast<ptrdiff_t>(step));
        const std::vector<Bytes> all = expected(rows, to, step);
        CHECK(sorted(rows, seen, kRanks, 4000) == all);
        uint64_t counts[kRanks];
        CHECK_EQ(count_destinations(seen, 5000, kRanks, counts), size_t{5000});
        for (size_t rank = 0; rank < kRanks; ++rank) CHECK_EQ(counts[rank], all[rank].size() / 4);
        for (const size_t place : {size_t{0}, size_t{4097}, size_t{4999}}) {
            for (const T bad : {static_cast<T>(kRanks), static_cast<T>(-1)}) {
                const T good = to[place * step];
                to[place * step] = bad;
                CHECK_EQ(count_destinations(seen, 5000, kRanks, counts), place);
                CHECK_THROWS(sorted(rows, seen, kRanks, 1 << 20), std::invalid_argument, "destinations");
                to[place * step] = good;
            }
        }
    }
}

TEST(destinations_of_every_integer_type) {
    for (const Isa level : available_isas()) {
        set_isa(level);
        check_type<int8_t>(DType::int8);
        check_type<int16_t>(DType::int16);
        check_type<int32_t>(DType::int32);
        check_type<int64_t>(DType::int64);
        check_type<uint8_t>(DType::uint8);
        check_type<uint16_t>(DType::uint16);
        check_type<uint32_t>(DType::uint32);
        check_type<uint64_t>(DType::uint64);
    }
    set_isa(best_isa());
}

TEST(many_ranks) {
    constexpr size_t kMany = 3000;
    const auto to = some_destinations<uint16_t>(20000, kMany);
    std::vector<uint64_t> counts(kMany), expected(kMany);
    for (const uint16_t rank : to) ++expected[rank];
    CHECK_EQ(count_destinations(view(to, DType::uint16), to.size(), kMany, counts.data()), to.size());
    CHECK(counts == expected);
}

TEST(rows_for_ranks_without_a_place_are_left_out) {
    const Bytes data = some_bytes(1000 * 8);
    const auto to = some_destinations<int64_t>(1000, kRanks);
    const Rows rows{data.data(), 8, 8, 1000};
    Partition partition(rows, view(to, DType::int64), kRanks, 1 << 20);
    partition.read(0);
    Bytes got(partition.bytes(2));
    std::byte* cursors[kRanks] = {nullptr, nullptr, got.data(), nullptr, nullptr};
    partition.write(cursors);
    CHECK(got == expected(rows, to)[2]);
    CHECK(cursors[0] == nullptr && cursors[2] == got.data() + got.size());
}

TEST(a_window_is_no_larger_than_it_may_be) {
    const Bytes data = some_bytes(1 << 16);
    const auto to = some_destinations<int32_t>(1 << 16, kRanks);
    for (const size_t bytes : {1, 3, 24, 100, 4096}) {
        for (const size_t window : {64, 1000, 1 << 14}) {
            const Rows rows{data.data(), static_cast<ptrdiff_t>(bytes), bytes, data.size() / bytes};
            Partition partition(rows, view(to, DType::int32), kRanks, window);
            for (size_t w = 0; w < partition.windows(); ++w) {
                partition.read(w);
                size_t total = 0;
                for (size_t rank = 0; rank < kRanks; ++rank) total += partition.bytes(rank);
                CHECK(total > 0 && total <= window);
                // Nor are the destinations that it keeps, at 4 bytes each.
                CHECK(bytes > window || total / bytes * sizeof(uint32_t) <= window);
            }
        }
    }
}
