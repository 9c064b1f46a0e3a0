// That the cheapest way of staging is found, kept, and found again when the machine changes.
#include <array>
#include <functional>

#include "check.h"
#include "shm/stores.h"

using namespace pyscale;

namespace {

using Cost = std::function<uint32_t(Writes, int call)>;

// Makes calls whose cost depends on the way; returns how many of them went each way.
std::array<int, kWrites> make_calls(StoreChoice& choice, int calls, uint64_t pieces, const Cost& cost) {
    std::array<int, kWrites> made{};
    // What a call cost is known during the next one.
    bool known = false;
    Writes last{};
    uint32_t last_cost = 0;
    for (int call = 0; call < calls; ++call) {
        const Writes writes = choice.writes();
        const bool timed = choice.wants_cost();
        if (known) choice.record(last, last_cost, pieces);
        choice.count(pieces);
        known = timed, last = writes, last_cost = cost(writes, call);
        ++made[static_cast<int>(writes)];
    }
    return made;
}

Cost costs(uint32_t cached, uint32_t string, uint32_t streamed) {
    return [=](Writes writes, int) {
        return writes == Writes::cached ? cached : writes == Writes::string ? string : streamed;
    };
}

const Cost kSharedCache = costs(100, 250, 200), kApart = costs(450, 900, 200),
           kFastString = costs(100, 70, 200);

int made_by(Writes writes, const std::array<int, kWrites>& made) { return made[static_cast<int>(writes)]; }

}  // namespace

TEST(the_cheapest_way_is_found_and_kept) {
    const std::pair<Writes, Cost> machines[] = {
        {Writes::cached, kSharedCache}, {Writes::streamed, kApart}, {Writes::string, kFastString}};
    for (const auto& [cheapest, cost] : machines) {
        for (const uint64_t pieces : {1, 4, 400}) {
            StoreChoice choice;
            make_calls(choice, 30, pieces, cost);
            const auto made = make_calls(choice, 10000, pieces, cost);
            CHECK(made_by(cheapest, made) > 9700);
            for (const int calls : made)
                CHECK(calls > 0);  // or it would not be found when the machine changes
        }
    }
}

TEST(follows_the_machine) {
    for (const uint64_t pieces : {1, 4, 400}) {
        StoreChoice choice;
        for (int turn = 0; turn < 5; ++turn) {
            make_calls(choice, 5000, pieces, kSharedCache);
            CHECK(made_by(Writes::cached, make_calls(choice, 700, pieces, kSharedCache)) > 600);
            make_calls(choice, 200, pieces, kApart);  // the cost alone tells
            CHECK(made_by(Writes::streamed, make_calls(choice, 700, pieces, kApart)) > 600);
            make_calls(choice, 5000, pieces, kFastString);
            CHECK(made_by(Writes::string, make_calls(choice, 700, pieces, kFastString)) > 600);
        }
    }
}

TEST(only_the_ways_that_there_are) {
    StoreChoice choice(2);
    make_calls(choice, 30, 1, kApart);
    const auto made = make_calls(choice, 10000, 1, kApart);
    CHECK(made_by(Writes::streamed, made) > 9700);
    CHECK_EQ(made_by(Writes::string, made), 0);
}

TEST(calls_that_were_preempted_do_not_count) {
    StoreChoice choice;
    const auto disturbed = [](Writes writes, int call) {
        return call * 7919 % 3 == 0 ? 5000u : kSharedCache(writes, call);
    };
    make_calls(choice, 100, 1, disturbed);
    CHECK(made_by(Writes::cached, make_calls(choice, 10000, 1, disturbed)) > 9500);
}

TEST(ways_that_cost_the_same_do_not_alternate) {
    StoreChoice choice;
    const auto made = make_calls(
        choice, 10000, 1, [](Writes, int call) { return 100u + static_cast<uint32_t>(call * 31 % 8); });
    CHECK(made_by(Writes::cached, made) > 9500);
}
