// Jobs: all are done once, errors arrive, and closing waits for what runs.
#include <atomic>
#include <stdexcept>

#include "check.h"
#include "core/jobs.h"

using namespace std::chrono_literals;
using pyscale::Jobs;

TEST(all_jobs_are_done_once) {
    for (const int threads : {1, 4}) {
        std::vector<std::atomic<int>> done(500);
        Jobs jobs(threads);
        std::vector<uint64_t> tickets;
        for (auto& count : done) tickets.push_back(jobs.submit([&count] { ++count; }));
        for (const uint64_t ticket : tickets) CHECK(jobs.wait(ticket, 60s));
        for (auto& count : done) CHECK(count == 1);
    }
}

TEST(a_job_that_is_not_done_is_waited_for_no_longer_than_said) {
    Jobs jobs(1);
    std::atomic<bool> go{false};
    const uint64_t ticket = jobs.submit([&go] {
        while (!go) std::this_thread::yield();
    });
    CHECK(!jobs.wait(ticket, 1ms));
    go = true;
    CHECK(jobs.wait(ticket, 60s));
}

TEST(what_a_job_throws_is_thrown_to_who_waits) {
    Jobs jobs(2);
    const uint64_t bad = jobs.submit([] { throw std::invalid_argument("a bad job"); });
    const uint64_t good = jobs.submit([] {});
    CHECK_THROWS(jobs.wait(bad, 60s), std::invalid_argument, "a bad job");
    CHECK(jobs.wait(good, 60s));
}

TEST(closing_waits_for_what_runs_and_drops_the_rest) {
    std::atomic<int> begun{0}, ended{0};
    {
        Jobs jobs(2);
        for (int i = 0; i < 1000; ++i) {
            jobs.submit([&] {
                ++begun;
                std::this_thread::sleep_for(1ms);
                ++ended;
            });
        }
    }
    CHECK(begun == ended);
    CHECK(begun < 1000);
}

TEST(nothing_is_taken_after_closing) {
    Jobs jobs(1);
    jobs.close();
    CHECK_THROWS(jobs.submit([] {}), std::runtime_error, "after close");
    CHECK_THROWS(jobs.wait(0, 1ms), std::runtime_error, "after close");
}

TEST(who_waits_while_another_thread_closes_is_told) {
    for (int round = 0; round < 50; ++round) {
        Jobs jobs(1);
        std::atomic<bool> go{false};
        const uint64_t running = jobs.submit([&go] {
            while (!go) std::this_thread::yield();
        });
        const uint64_t after = jobs.submit([] {});
        std::atomic<int> told{0};
        std::vector<std::thread> waiting;
        for (const uint64_t ticket : {running, after, after}) {
            waiting.emplace_back([&jobs, &told, ticket] {
                try {
                    while (!jobs.wait(ticket, 10ms)) continue;
                } catch (const std::runtime_error&) {
                    ++told;
                }
            });
        }
        std::thread other([&jobs] { jobs.close(); });
        std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
        go = true;
        jobs.close();
        other.join();
        for (std::thread& thread : waiting) thread.join();
        CHECK(told >= 1 && told <= 3);  // of two that wait for one job, one waits in vain
        CHECK_THROWS(jobs.wait(after, 1ms), std::runtime_error, "after close");
    }
}
