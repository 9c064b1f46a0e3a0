// That the cheaper way of staging is found, kept, and found again when the machine changes.
#include <functional>

#include "check.h"
#include "shm/stores.h"

using namespace pyscale;

namespace {

// Makes calls whose cost depends on the way; returns how many of them were streamed.
int make_calls(StoreChoice& choice, int calls, uint64_t pieces,
               const std::function<uint32_t(bool streamed, int call)>& cost) {
    int streamed_calls = 0;
    // What a call cost is known during the next one.
    bool known = false, last_streamed = false;
    uint32_t last_cost = 0;
    for (int call = 0; call < calls; ++call) {
        const bool streamed = choice.streaming(), timed = choice.wants_cost();
        if (known) choice.record(last_streamed, last_cost, pieces);
        choice.count(pieces);
        known = timed, last_streamed = streamed, last_cost = cost(streamed, call);
        streamed_calls += streamed;
    }
    return streamed_calls;
}

uint32_t shared_cache(bool streamed, int) { return streamed ? 200 : 100; }
uint32_t apart(bool streamed, int) { return streamed ? 200 : 450; }

}  // namespace

TEST(cached_where_that_is_cheaper) {
    for (const uint64_t pieces : {1, 4, 400}) {
        StoreChoice choice;
        const int streamed = make_calls(choice, 10000, pieces, shared_cache);
        CHECK(streamed > 0);
        CHECK(streamed < 500);
    }
}

TEST(streamed_where_that_is_cheaper) {
    for (const uint64_t pieces : {1, 4, 400}) {
        StoreChoice choice;
        make_calls(choice, 20, pieces, apart);
        const int streamed = make_calls(choice, 10000, pieces, apart);
        CHECK(streamed > 9500);
        CHECK(streamed < 10000);
    }
}

TEST(follows_the_machine) {
    for (const uint64_t pieces : {1, 4, 400}) {
        StoreChoice choice;
        for (int turn = 0; turn < 5; ++turn) {
            make_calls(choice, 700, pieces, shared_cache);
            CHECK(make_calls(choice, 700, pieces, shared_cache) < 70);
            make_calls(choice, 150, pieces, apart);  // the cost alone tells
            CHECK(make_calls(choice, 700, pieces, apart) > 600);
        }
    }
}

TEST(calls_that_were_preempted_do_not_count) {
    StoreChoice choice;
    const auto disturbed = [](bool streamed, int call) {
        return call * 7919 % 3 == 0 ? 5000u : shared_cache(streamed, call);
    };
    make_calls(choice, 100, 1, disturbed);
    CHECK(make_calls(choice, 10000, 1, disturbed) < 500);
}

TEST(two_ways_that_cost_the_same_do_not_alternate) {
    StoreChoice choice;
    const int streamed = make_calls(
        choice, 10000, 1, [](bool, int call) { return 100u + static_cast<uint32_t>(call * 31 % 8); });
    CHECK(streamed < 500);
}
