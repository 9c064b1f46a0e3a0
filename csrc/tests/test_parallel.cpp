// Loops that threads share: each chunk once, whoever calls, whoever is late, and in forked processes too.
#include <sys/wait.h>
#include <unistd.h>

#include <cfenv>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "core/parallel.h"

using namespace pyscale;
using namespace std::chrono_literals;

namespace {

// The sum of 1..n, by chunks of one.
size_t sum_of(size_t n, int num_threads) {
    std::atomic<size_t> sum{0};
    parallel_for(n, 1, num_threads, [&](size_t begin, size_t) { sum += begin + 1; });
    return sum;
}

}  // namespace

TEST(each_index_is_covered_once_in_fixed_chunks) {
    for (int num_threads : {0, 1, 2, 5, 100}) {
        for (size_t n : {0, 1, 9, 10, 11, 1000}) {
            std::vector<std::atomic<int>> seen(n);
            parallel_for(n, 10, num_threads, [&](size_t begin, size_t end) {
                CHECK(begin % 10 == 0 && (end == begin + 10 || end == n) && begin < end);
                for (size_t i = begin; i < end; ++i) {
                    ++seen[i];
                }
            });
            CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& count) { return count == 1; }));
        }
    }
}

TEST(an_exception_is_passed_on) {
    for (int num_threads : {1, 4}) {
        const auto fail = [](size_t begin, size_t) {
            if (begin == 30) {
                throw std::runtime_error("chunk 30");
            }
        };
        CHECK_THROWS(parallel_for(100, 10, num_threads, fail), std::runtime_error, "chunk 30");
    }
}

TEST(callers_at_once_do_their_own_loops) {
    constexpr int kCallers = 40;  // more than can show a loop at a time
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) {
        callers.emplace_back([i] {
            for (size_t n = 2; n < 200; ++n) CHECK_EQ(sum_of(n, 2 + i % 3), n * (n + 1) / 2);
        });
    }
    for (std::thread& caller : callers) caller.join();
}

TEST(a_loop_within_a_loop) {
    std::atomic<size_t> sum{0};
    parallel_for(20, 1, 4, [&](size_t, size_t) { sum += sum_of(30, 4); });
    CHECK_EQ(sum.load(), 20u * 465u);
}

TEST(helpers_help_after_they_slept) {
    for (int i = 0; i < 3; ++i) {
        std::mutex mutex;
        std::set<std::thread::id> seen;
        // Until somebody else comes, who can only be a helper.
        parallel_for(64, 1, 4, [&](size_t, size_t) {
            for (const auto end = std::chrono::steady_clock::now() + 10s;
                 std::chrono::steady_clock::now() < end;) {
                const std::lock_guard<std::mutex> lock(mutex);
                seen.insert(std::this_thread::get_id());
                if (seen.size() > 1) return;
            }
        });
        CHECK(seen.size() > 1);
        std::this_thread::sleep_for(20ms);
    }
}

TEST(what_a_helper_has_begun_is_waited_for) {
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<int> others{0}, done{0};
    parallel_for(50, 1, 2, [&](size_t, size_t) {
        if (std::this_thread::get_id() != caller && others++ == 0) std::this_thread::sleep_for(50ms);
        ++done;
    });
    CHECK_EQ(done.load(), 50);
}

TEST(all_threads_round_as_the_caller_does) {
    std::fesetround(FE_UPWARD);
    std::atomic<int> otherwise{0};
    for (int i = 0; i < 100; ++i) {
        parallel_for(8, 1, 4, [&](size_t, size_t) { otherwise += std::fegetround() != FE_UPWARD; });
    }
    std::fesetround(FE_TONEAREST);
    parallel_for(8, 1, 4, [&](size_t, size_t) { otherwise += std::fegetround() != FE_TONEAREST; });
#if !defined(_OPENMP)
    CHECK_EQ(otherwise.load(), 0);
#endif
}

#if !defined(__SANITIZE_THREAD__)  // which ends children that start threads
TEST(a_forked_child_has_helpers_of_its_own) {
    CHECK_EQ(sum_of(100, 4), 5050u);
    const pid_t child = fork();
    if (child == 0) {
        bool right = true;
        for (int i = 0; i < 50; ++i) right = right && sum_of(100, 4) == 5050;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(sum_of(100, 4), 5050u);
}

#if !defined(_OPENMP)
TEST(a_helper_that_is_elsewhere_is_not_waited_for) {
    const pid_t child = fork();  // where there is one helper and no more
    if (child == 0) {
        std::atomic<bool> there{false}, over{false};
        const auto wait_for = [](const std::atomic<bool>& flag) {
            const auto end = std::chrono::steady_clock::now() + 20s;
            while (!flag && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
            return flag.load();
        };
        std::thread other([&] {
            const std::thread::id caller = std::this_thread::get_id();
            parallel_for(2, 1, 2, [&](size_t, size_t) {
                if (std::this_thread::get_id() == caller) {
                    wait_for(there);
                } else {
                    there = true;
                    wait_for(over);
                }
            });
        });
        bool right = wait_for(there);
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < 10; ++i) right = right && sum_of(100, 2) == 5050;
        right = right && std::chrono::steady_clock::now() - begin < 10s;
        over = true;
        other.join();
        _exit(right ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

TEST(a_child_forked_while_others_loop) {
    std::atomic<bool> over{false};
    std::thread other([&] {
        while (!over) CHECK_EQ(sum_of(100, 2), 5050u);
    });
    for (int i = 0; i < 20; ++i) {
        const pid_t child = fork();
        if (child == 0) _exit(sum_of(100, 4) == 5050 ? 0 : 1);
        int status = -1;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    over = true;
    other.join();
}
#endif
