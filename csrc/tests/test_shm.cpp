// The shared-memory collectives with threads as ranks, so that the thread sanitizer sees the protocol.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "shm/arena.h"
#include "shm/collectives.h"

using namespace pyscale;

namespace {

constexpr size_t kUserBytes = 2 * 1024 * 1024;
constexpr size_t kMailboxAt = 4096;
constexpr size_t kUserAt = kMailboxAt + (sizeof(Mailbox) + 4095) / 4096 * 4096;

// As many arenas as ranks in ordinary memory, which is what the sanitizers watch.
class World {
   public:
    World(int ranks, const Group::Options& options) : options_(options) {
        for (int rank = 0; rank < ranks; ++rank) {
            const size_t bytes = kUserAt + kUserBytes;
            auto* base = static_cast<std::byte*>(std::aligned_alloc(4096, bytes));
            std::fill(base, base + kUserAt, std::byte{0});
            arenas_.emplace_back(base, &std::free);
            members_.push_back({base, bytes, reinterpret_cast<Mailbox*>(base + kMailboxAt), -1, rank});
        }
    }

    // Calls body(group, the rank's user memory) in one thread a rank.
    void run(const std::function<void(Group&, std::byte*)>& body) {
        std::vector<std::thread> threads;
        for (int rank = 0; rank < static_cast<int>(members_.size()); ++rank) {
            threads.emplace_back([this, rank, &body] {
                Group group(members_, rank, options_);
                body(group, arenas_[static_cast<size_t>(rank)].get() + kUserAt);
            });
        }
        for (std::thread& thread : threads) thread.join();
    }

   private:
    Group::Options options_;
    std::vector<std::unique_ptr<std::byte, decltype(&std::free)>> arenas_;
    std::vector<Group::Member> members_;
};

Group::Options options(Algorithm algorithm = Algorithm::automatic, int cores = 2) {
    return {60.0, cores, algorithm};
}

Call call_of(DType dtype, int64_t count, int root = -1) {
    Call call;
    call.collective = root >= 0 ? Collective::broadcast : Collective::all_gather;
    call.dtype = dtype;
    call.root = root;
    call.set_shape(&count, 1);
    return call;
}

int32_t value(int rank, size_t i) {
    return static_cast<int32_t>(i * 7 + static_cast<size_t>(rank) * 1000003);
}

int32_t sum_of(int ranks, size_t i) {
    int64_t sum = 0;
    for (int rank = 0; rank < ranks; ++rank) sum += value(rank, i);
    return static_cast<int32_t>(sum);
}

void fill(int32_t* x, int rank, size_t count) {
    for (size_t i = 0; i < count; ++i) x[i] = value(rank, i);
}

void check_sums(const int32_t* x, int ranks, size_t count) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; ++i) wrong += x[i] != sum_of(ranks, i);
    CHECK_EQ(wrong, size_t{0});
}

void stream_outputs(Group& group) {
    Tuning tuning = group.tuning();
    tuning.cache_bytes = 0;
    group.set_tuning(tuning);
}

const size_t kCounts[] = {0, 1, 9, 10, 11, 255, 2047, 2048, 4097, 8192, 8193, 65536, 100003, 400001};

}  // namespace

TEST(all_reduce_of_ordinary_arrays) {
    for (const int ranks : {1, 2, 3, 5}) {
        for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::one_shot, Algorithm::two_shot}) {
            World(ranks, options(algorithm)).run([&](Group& group, std::byte*) {
                // Outputs through the caches, and then past them; that many calls try both for staged data
                // too.
                for (int round = 0; round < 3; ++round) {
                    if (round > 0) stream_outputs(group);
                    for (const size_t count : kCounts) {
                        std::vector<int32_t> x(count), out(count);
                        fill(x.data(), group.rank(), count);
                        const Fold fold = Fold::of(Op::sum, DType::int32, ranks);
                        const Call call = call_of(DType::int32, static_cast<int64_t>(count));
                        all_reduce(group, call, fold, x.data(), out.data(), count);
                        check_sums(out.data(), ranks, count);
                        all_reduce(group, call, fold, x.data(), x.data(), count);
                        check_sums(x.data(), ranks, count);
                    }
                }
            });
        }
    }
}

TEST(all_reduce_of_shared_arrays) {
    for (const int ranks : {1, 2, 3, 5}) {
        World(ranks, options()).run([&](Group& group, std::byte* memory) {
            auto* x = reinterpret_cast<int32_t*>(memory);
            for (const size_t count : {size_t{1}, size_t{300}, size_t{3000}, size_t{50001}, size_t{200003}}) {
                fill(x, group.rank(), count);
                const Fold fold = Fold::of(Op::sum, DType::int32, ranks);
                const Call call = call_of(DType::int32, static_cast<int64_t>(count));
                int32_t* out = x + 250000;
                all_reduce(group, call, fold, x, out, count);
                check_sums(out, ranks, count);
                all_reduce(group, call, fold, x, x, count);
                check_sums(x, ranks, count);
            }
        });
    }
}

TEST(outputs_by_every_kind_of_store) {
    constexpr size_t kCount = 200003;
    for (const int ranks : {1, 2, 3, 5}) {
        World(ranks, options()).run([&](Group& group, std::byte* memory) {
            auto* x = reinterpret_cast<int32_t*>(memory);
            // Some ranks out of place, the others in place.
            auto* out = group.rank() % 2 == 0 ? x + 250000 : x;
            int streamed = 0;
            for (int call = 0; call < 20; ++call) {
                fill(x, group.rank(), kCount);
                all_reduce(group, call_of(DType::int32, kCount), Fold::of(Op::sum, DType::int32, ranks), x,
                           out, kCount);
                check_sums(out, ranks, kCount);
                streamed += group.stores().writes() == Writes::streamed;
            }
            CHECK(streamed > 0);
            CHECK(streamed < 20);
        });
    }
}

TEST(all_reduce_where_only_some_arrays_are_shared) {
    for (const int ranks : {2, 3, 5}) {
        World(ranks, options()).run([&](Group& group, std::byte* memory) {
            for (int odd = 0; odd < 2; ++odd) {
                for (const size_t count : {size_t{10}, size_t{1500}, size_t{20000}, size_t{100001}}) {
                    std::vector<int32_t> own(count);
                    int32_t* x = group.rank() % 2 == odd ? own.data() : reinterpret_cast<int32_t*>(memory);
                    fill(x, group.rank(), count);
                    const Call call = call_of(DType::int32, static_cast<int64_t>(count));
                    all_reduce(group, call, Fold::of(Op::sum, DType::int32, ranks), x, x, count);
                    check_sums(x, ranks, count);
                }
            }
        });
    }
}

TEST(same_bits_by_every_algorithm) {
    constexpr int kRanks = 5;
    constexpr size_t kCount = 7001;
    std::vector<std::vector<float>> results;
    for (const Algorithm algorithm :
         {Algorithm::eager, Algorithm::one_shot, Algorithm::two_shot, Algorithm::direct}) {
        std::vector<float> result(kCount);
        World(kRanks, options(algorithm)).run([&](Group& group, std::byte* memory) {
            auto* x = reinterpret_cast<float*>(memory);
            for (size_t i = 0; i < kCount; ++i)
                x[i] = 1.0f / static_cast<float>(i + 1 + 17 * static_cast<size_t>(group.rank()));
            all_reduce(group, call_of(DType::float32, kCount), Fold::of(Op::mean, DType::float32, kRanks), x,
                       x, kCount);
            if (group.rank() == 2) std::copy(x, x + kCount, result.begin());
        });
        results.push_back(result);
    }
    for (const auto& result : results)
        CHECK(std::memcmp(result.data(), results[0].data(), kCount * sizeof(float)) == 0);
}

TEST(the_other_collectives) {
    for (const int ranks : {1, 2, 3, 5}) {
        World(ranks, options()).run([&](Group& group, std::byte* memory) {
            const auto self = static_cast<size_t>(group.rank());
            const auto size = static_cast<size_t>(ranks);
            for (const size_t count : {size_t{0}, size_t{1}, size_t{100}, size_t{5000}, size_t{70001}}) {
                for (const bool shared : {false, true}) {
                    const auto elements = static_cast<int64_t>(count);
                    std::vector<int32_t> ordinary(size * count), out(size * count);
                    int32_t* x = shared ? reinterpret_cast<int32_t*>(memory) : ordinary.data();
                    barrier(group);

                    fill(x, group.rank(), size * count);
                    reduce_scatter(group, call_of(DType::int32, elements),
                                   Fold::of(Op::sum, DType::int32, ranks), x, out.data(), count);
                    size_t wrong = 0;
                    for (size_t i = 0; i < count; ++i) wrong += out[i] != sum_of(ranks, self * count + i);

                    all_gather(group, call_of(DType::int32, elements), x, out.data(),
                               count * sizeof(int32_t));
                    for (size_t i = 0; i < size * count; ++i) {
                        wrong += out[i] != value(static_cast<int>(i / count), i % count);
                    }
                    for (int root = 0; root < ranks; ++root) {
                        fill(x, group.rank(), count);
                        broadcast(group, call_of(DType::int32, elements, root), x, count * sizeof(int32_t));
                        for (size_t i = 0; i < count; ++i) wrong += x[i] != value(root, i);
                    }
                    // Rank r sends r + 1 times as much to each peer as rank 0 does.
                    const size_t unit = count / size;
                    fill(x, group.rank(), size * count);
                    std::vector<uint64_t> send(size, unit * (self + 1) / size * sizeof(int32_t)),
                        receive(size);
                    for (size_t peer = 0; peer < size; ++peer)
                        receive[peer] = unit * (peer + 1) / size * sizeof(int32_t);
                    all_to_all(group, call_of(DType::int32, 0), x, send, out.data(), receive);
                    size_t at = 0;
                    for (size_t peer = 0; peer < size; ++peer) {
                        const size_t block = receive[peer] / sizeof(int32_t);
                        for (size_t i = 0; i < block; ++i) {
                            wrong += out[at + i] != value(static_cast<int>(peer), self * block + i);
                        }
                        at += block;
                    }
                    CHECK_EQ(wrong, size_t{0});
                }
            }
        });
    }
}

namespace {

// Rank r has 1000 (r + 1) rows, or none; where row i goes.
int32_t rows_of(int rank, int ranks) { return rank == 1 && ranks > 2 ? 0 : 1000 * (rank + 1); }
int32_t goes_to(int rank, int32_t i, int ranks, bool skewed) {
    return skewed ? ranks - 1
                  : static_cast<int32_t>((static_cast<uint32_t>(i) * 2654435761u >> 7) + rank) % ranks;
}

}  // namespace

TEST(rows_come_in_the_order_of_their_ranks) {
    for (const int ranks : {1, 2, 3, 5}) {
        World(ranks, options()).run([&](Group& group, std::byte* memory) {
            const int self = group.rank();
            const auto size = static_cast<size_t>(ranks);
            for (const size_t width : {size_t{1}, size_t{7}, size_t{100}}) {
                for (const size_t window : {size_t{16}, size_t{5000}, size_t{900'000}}) {
                    // Those of rank 0 are its own; sizes may differ.
                    RowStaging staging = own_staging(group);
                    if (self == 0 && window == 5000) staging = {memory, 5064};
                    CHECK(largest_window(group, staging) >= window);
                    for (const bool skewed : {false, true}) {
                        if (window == 16 && width == 100) continue;  // too many barriers
                        const int32_t own = rows_of(self, ranks);
                        std::vector<int32_t> x(static_cast<size_t>(own) * width), to(own), expected;
                        for (int32_t i = 0; i < own; ++i) to[i] = goes_to(self, i, ranks, skewed);
                        for (size_t i = 0; i < x.size(); ++i) x[i] = value(self, i);
                        std::vector<size_t> numbers(size);
                        std::vector<uint64_t> bytes(size);
                        for (int from = 0; from < ranks; ++from) {
                            numbers[static_cast<size_t>(from)] = static_cast<size_t>(from);
                            for (int32_t i = 0; i < rows_of(from, ranks); ++i) {
                                if (goes_to(from, i, ranks, skewed) != self) continue;
                                bytes[static_cast<size_t>(from)] += width * sizeof(int32_t);
                                for (size_t k = 0; k < width; ++k)
                                    expected.push_back(value(from, static_cast<size_t>(i) * width + k));
                            }
                        }
                        std::vector<int32_t> out(expected.size());
                        std::vector<std::byte*> places;
                        auto* next = reinterpret_cast<std::byte*>(out.data());
                        for (size_t from = 0; from < size; next += bytes[from++]) places.push_back(next);
                        const ptrdiff_t row = static_cast<ptrdiff_t>(width * sizeof(int32_t));
                        Partition rows({reinterpret_cast<const std::byte*>(x.data()), row,
                                        static_cast<size_t>(row), static_cast<size_t>(own)},
                                       {reinterpret_cast<const std::byte*>(to.data()), 4, DType::int32}, size,
                                       window);
                        exchange(group, call_of(DType::int32, 1), rows, numbers, staging, places, bytes);
                        CHECK(out == expected);
                    }
                }
            }
        });
    }
}

TEST(rows_that_go_elsewhere_than_was_said_end_the_group) {
    World(2, options()).run([&](Group& group, std::byte*) {
        const std::vector<int32_t> x(100), to(100);
        std::vector<int32_t> out(200);
        auto* const place = reinterpret_cast<std::byte*>(out.data());
        Partition rows({reinterpret_cast<const std::byte*>(x.data()), 4, 4, 100},
                       {reinterpret_cast<const std::byte*>(to.data()), 4, DType::int32}, 2, 4096);
        // All go to rank 0, and each has said that they go half and half.
        const auto call = [&] {
            exchange(group, call_of(DType::int32, 1), rows, {0, 1}, own_staging(group), {place, place + 200},
                     {200, 200});
        };
        if (group.rank() == 0) {
            CHECK_THROWS(call(), std::invalid_argument, "as they were when they were counted");
        } else {
            CHECK_THROWS(call(), CommFailure, "rank 0 was interrupted");
        }
        CHECK_THROWS(barrier(group), CommFailure, "given up earlier");
    });
}

TEST(calls_that_differ_are_refused_on_every_rank_and_the_group_goes_on) {
    World(3, options()).run([&](Group& group, std::byte*) {
        std::vector<float> x(100000, 1.0f);
        const Fold sum = Fold::of(Op::sum, DType::float32, 3);
        for (int round = 0; round < 20; ++round) {
            const bool odd_one = group.rank() == round % 3;
            const size_t count = odd_one ? 100000 : 5;
            CHECK_THROWS(all_reduce(group, call_of(DType::float32, static_cast<int64_t>(count)), sum,
                                    x.data(), x.data(), count),
                         CallMismatch, "shape (100000,)");
            const auto call_something = [&] {
                if (odd_one) return barrier(group);
                all_reduce(group, call_of(DType::float32, 5), sum, x.data(), x.data(), 5);
            };
            CHECK_THROWS(call_something(), CallMismatch, "barrier() on rank");
            std::vector<float> y(50000, 1.0f);
            all_reduce(group, call_of(DType::float32, 50000), sum, y.data(), y.data(), 50000);
            CHECK(y[0] == 3.0f && y[49999] == 3.0f);
        }
        CHECK(!group.broken());
    });
}

TEST(a_late_rank_is_named) {
    World(3, {0.3, 2, Algorithm::automatic}).run([&](Group& group, std::byte*) {
        barrier(group);
        if (group.rank() == 1) return;
        CHECK_THROWS(barrier(group), CommFailure, "rank 1");
        CHECK(group.broken());
        CHECK_THROWS(barrier(group), CommFailure, "given up earlier");
    });
}

TEST(a_rank_that_leaves_is_named) {
    World(3, options()).run([&](Group& group, std::byte*) {
        barrier(group);
        if (group.rank() == 1) return group.close();
        CHECK_THROWS(barrier(group), CommFailure, "rank 1 left");
    });
}

TEST(ranks_that_share_cores_sleep_and_wake) {
    World(6, options(Algorithm::automatic, 1)).run([&](Group& group, std::byte*) {
        group.set_patience({0, 0});  // to sleep at every wait, so that every wake-up counts
        for (int32_t i = 0; i < 300; ++i) {
            int32_t x = i + group.rank();
            all_reduce(group, call_of(DType::int32, 1), Fold::of(Op::max, DType::int32, 6), &x, &x, 1);
            CHECK_EQ(x, i + 5);
        }
    });
}

TEST(arena_blocks) {
    Arena arena(64 * 4096);
    const size_t a = arena.allocate(1, true), b = arena.allocate(5000, false),
                 c = arena.allocate(60 * 4096, false);
    CHECK_EQ(a, size_t{0});
    CHECK_EQ(b, size_t{4096});
    CHECK_EQ(c, size_t{3 * 4096});
    CHECK_THROWS(arena.allocate(2 * 4096, false), std::bad_alloc, "");
    arena.base()[b] = std::byte{1};
    arena.free(b);
    arena.free(a);
    CHECK_EQ(arena.allocate(3 * 4096, true), size_t{0});  // the neighbours became one
    CHECK(arena.base()[b] == std::byte{0});
    CHECK(arena.resident_bytes() <= 4 * 4096);
    CHECK(arena.contains(arena.base() + c, 60 * 4096));
    CHECK(!arena.contains(arena.base() + c, 62 * 4096));
    CHECK(!arena.contains(&arena, 1));
    CHECK_THROWS(arena.allocate(SIZE_MAX, false), std::bad_alloc, "");
}

TEST(an_arena_is_seen_through_its_descriptor) {
    Arena arena(4096 * 16);
    const size_t at = arena.allocate(100, true);
    Mapping other(arena.fd(), arena.bytes());
    arena.base()[at] = std::byte{42};
    CHECK(other.base()[at] == std::byte{42});
}

TEST(what_is_lent_lasts_until_the_last_has_let_go) {
    Arena arena(4096 * 16);
    Mapping other(arena.fd(), arena.bytes());
    const auto at = [](std::byte* base, size_t offset) {
        return reinterpret_cast<LentBlock*>(base + offset);
    };
    const size_t before = arena.resident_bytes(), offset = arena.lend(5000);
    LentBlock &here = *at(arena.base(), offset), &there = *at(other.base(), offset);
    CHECK_EQ(arena.resident_bytes() - before, size_t{3 * 4096});
    CHECK_EQ(there.bytes, uint64_t{2 * 4096});
    here.data()[4999] = std::byte{42};
    there.join();
    here.leave();
    CHECK(there.data()[4999] == std::byte{42});
    CHECK(arena.lend(1) != offset);  // in use elsewhere
    there.leave();
    CHECK(arena.resident_bytes() - before <= 3 * 4096);  // its header, and the other block
    CHECK_THROWS(there.join(), std::runtime_error, "given back");
    CHECK_EQ(arena.lend(5000), offset);
    CHECK(at(arena.base(), offset)->data()[4999] == std::byte{0});
    CHECK_THROWS(arena.lend(SIZE_MAX), std::bad_alloc, "");
    CHECK_THROWS(arena.lend(16 * 4096), std::bad_alloc, "");
}

TEST(what_a_forked_child_writes_stays_its_own) {
    Arena arena(4096 * 16);
    const size_t at = arena.allocate(3 * 4096, true);
    arena.base()[at] = std::byte{1};
    const pid_t child = fork();
    if (child == 0) {
        const bool inherited = arena.base()[at] == std::byte{1};
        arena.base()[at] = arena.base()[at + 4096] = std::byte{2};
        const pid_t grandchild = fork();
        if (grandchild == 0) _exit(arena.base()[at] == std::byte{2} ? 0 : 1);
        int status = -1;
        waitpid(grandchild, &status, 0);
        arena.free(at);
        _exit(inherited && status == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
    CHECK(arena.base()[at] == std::byte{1});
    CHECK(arena.base()[at + 4096] == std::byte{0});
}
