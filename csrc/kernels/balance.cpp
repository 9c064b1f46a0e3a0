#include "kernels/balance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"

namespace pyscale {

namespace {

// What limits the time, which is half a millisecond at most for a few thousand samples.
constexpr size_t kRefineSteps = 1 << 16, kRefineStepsASample = 16;
constexpr size_t kLargestSearched = 24, kSearchSteps = 1 << 12;

struct Sample {
    int64_t cost, index;
};

bool comes_before(const Sample& x, const Sample& y) {
    return x.cost != y.cost ? x.cost > y.cost : x.index < y.index;
}

using Samples = std::vector<Sample>;  // always in that order

[[noreturn]] void refuse(const std::string& what, double got, const std::string& where = "") {
    std::ostringstream text;
    text << got << where;
    throw_expected("balance", what + " that is finite and not negative", text.str());
}

bool is_good(double value) { return value >= 0 && value < INFINITY; }

std::vector<double> costs_of(const double* lengths, size_t n, double linear, double quadratic) {
    if (!is_good(linear)) refuse("linear", linear);
    if (!is_good(quadratic)) refuse("quadratic", quadratic);
    std::vector<double> costs(n);
    for (size_t i = 0; i < n; ++i) {
        const double length = lengths[i];
        costs[i] = linear * length + quadratic * length * length;
        if (!is_good(length)) refuse("each length", length, " for sample " + std::to_string(i));
        if (!is_good(costs[i])) refuse("each cost", costs[i], " for sample " + std::to_string(i));
    }
    return costs;
}

int64_t greatest_common_divisor(int64_t x, int64_t y) {
    while (y != 0) x = std::exchange(y, x % y);
    return x;
}

// The costs in integers whose sum is below 2^62: multiples of a power of two, of which what all have in
// common is divided out, so that bounds are sharp where lengths are whole numbers.
Samples sorted_by_cost(const std::vector<double>& costs) {
    Samples samples(costs.size());
    if (costs.empty()) return samples;
    const double largest = *std::max_element(costs.begin(), costs.end());
    const int bits = __builtin_clzll(costs.size()) - 3;  // of the largest: n is below 2^(61 - bits)
    const int shift = largest > 0 ? bits - 1 - std::ilogb(largest) : 0;
    int64_t divisor = 0;
    for (size_t i = 0; i < costs.size(); ++i) {
        const int64_t cost = std::llrint(std::scalbn(costs[i], shift));
        divisor = greatest_common_divisor(cost, divisor);
        samples[i] = {cost, static_cast<int64_t>(i)};
    }
    for (Sample& sample : samples) sample.cost /= std::max<int64_t>(divisor, 1);
    std::sort(samples.begin(), samples.end(), comes_before);
    return samples;
}

int64_t sum(const Sample* samples, size_t count) {
    int64_t total = 0;
    for (size_t i = 0; i < count; ++i) total += samples[i].cost;
    return total;
}

// How many samples a rank may have, and what no split can do better than.
struct Limits {
    size_t least, most;
    size_t ranks_with_most;  // not more of them
    int64_t bound;

    Limits(const Samples& samples, size_t num_ranks, bool equal_counts) {
        const size_t n = samples.size(), left = n % num_ranks;
        least = equal_counts ? n / num_ranks : 0;
        most = equal_counts ? least + (left > 0) : n;
        ranks_with_most = equal_counts && left > 0 ? left : num_ranks;
        const auto ranks = static_cast<int64_t>(num_ranks);
        bound = (sum(samples.data(), n) + ranks - 1) / ranks;
        const size_t others = std::max<size_t>(least, 1) - 1;  // which the largest has beside it
        if (n > 0) bound = std::max(bound, samples[0].cost + sum(samples.data() + n - others, others));
    }
};

// Who has what, and how much that is.
class Split {
   public:
    Split(const Samples& samples, size_t num_ranks, const Limits& limits, bool equal_counts)
        : limits_(limits), ranks_(num_ranks), loads_(num_ranks), by_load_(num_ranks) {
        std::iota(by_load_.begin(), by_load_.end(), size_t{0});
        equal_counts ? deal(samples) : give(samples);
        sort_by_load(by_load_.begin());
    }

    int64_t largest() const { return loads_[by_load_.back()]; }

    void write(std::vector<size_t>& rank_of) const {
        for (size_t rank = 0; rank < ranks_.size(); ++rank) {
            for (const Sample& sample : ranks_[rank]) rank_of[static_cast<size_t>(sample.index)] = rank;
        }
    }

    // Exchanges samples between the rank that has the most to do and another, those with the least first,
    // until nothing is gained or `steps` samples were looked at.
    void refine(size_t steps) {
        while (largest() > limits_.bound) {
            std::optional<Exchange> found;
            for (size_t i = 0; i + 1 < by_load_.size() && steps > 0 && !found; ++i) {
                const size_t from = by_load_.back(), to = by_load_[i];
                found = best_exchange(from, to);
                steps -= std::min(steps, ranks_[from].size() + ranks_[to].size());
            }
            if (!found) return;
            apply(*found);
        }
    }

   private:
    using Rank = std::vector<size_t>::iterator;  // in by_load_

    // One rank's sample at place `out` for the other's at place `in`, or for nothing where there is none.
    struct Exchange {
        size_t from, to, out, in;
    };

    auto has_less() const {
        return [this](size_t x, size_t y) { return loads_[x] != loads_[y] ? loads_[x] < loads_[y] : x < y; };
    }
    void sort_by_load(Rank first) { std::sort(first, by_load_.end(), has_less()); }
    Rank place_of(size_t rank) {
        return std::lower_bound(by_load_.begin(), by_load_.end(), rank, has_less());
    }

    void append(size_t rank, const Sample& sample) {
        ranks_[rank].push_back(sample);
        loads_[rank] += sample.cost;
    }

    // Equal counts. Samples that are worth a rank's share are joined by the smallest ones. Of the others, the
    // next as many as there are ranks go one to each, the largest to the rank that has the least.
    void deal(const Samples& samples) {
        const Sample *begin = samples.data(), *end = begin + samples.size();
        size_t fewer = samples.size() % ranks_.size() > 0 ? ranks_.size() - limits_.ranks_with_most : 0;
        int64_t total = sum(begin, samples.size());
        Rank first = by_load_.begin();
        for (; limits_.least > 0 && first != by_load_.end(); ++first) {
            const size_t others = (fewer > 0 ? limits_.least : limits_.most) - 1;
            const int64_t load = begin->cost + sum(end - others, others);
            if (load <= total / (by_load_.end() - first)) break;
            append(*first, *begin++);
            for (end -= others; ranks_[*first].size() <= others;)
                append(*first, end[ranks_[*first].size() - 1]);
            total -= load;
            fewer -= fewer > 0;
        }
        while (begin != end) {
            sort_by_load(first);
            for (Rank rank = first; rank != by_load_.end() && begin != end; ++rank) append(*rank, *begin++);
        }
    }

    // Any counts. Each sample goes to the rank that has the least, the largest sample first.
    void give(const Samples& samples) {
        const auto has_more = [this](size_t x, size_t y) { return has_less()(y, x); };
        for (const Sample& sample : samples) {  // on a heap
            std::pop_heap(by_load_.begin(), by_load_.end(), has_more);
            append(by_load_.back(), sample);
            std::push_heap(by_load_.begin(), by_load_.end(), has_more);
        }
    }

    // What leaves the larger of two ranks the smallest, if that is less than now: both are walked down once.
    std::optional<Exchange> best_exchange(size_t from, size_t to) const {
        const Samples &x = ranks_[from], &y = ranks_[to];
        const int64_t gap = loads_[from] - loads_[to];
        const bool may_get_nothing = x.size() > limits_.least && y.size() < limits_.most;
        const size_t end = y.size() + may_get_nothing;
        int64_t best = gap;
        std::optional<Exchange> found;
        for (size_t out = 0, in = 0; out < x.size(); ++out) {
            const auto moved = [&](size_t i) { return x[out].cost - (i < y.size() ? y[i].cost : 0); };
            while (in < end && 2 * moved(in) < gap) ++in;
            for (const size_t i : {in - 1, in}) {  // those next to half the gap
                if (i >= end) continue;            // 0 - 1 is one of them
                const int64_t larger = std::max(gap - moved(i), moved(i));
                if (larger < best) best = larger, found = Exchange{from, to, out, i};
            }
        }
        return found;
    }

    void apply(const Exchange& exchange) {
        const auto [from, to, out, in] = exchange;
        by_load_.erase(place_of(from));
        by_load_.erase(place_of(to));
        const Sample sample = take(from, out);
        if (in < ranks_[to].size()) insert(from, take(to, in));
        insert(to, sample);
        by_load_.insert(place_of(from), from);
        by_load_.insert(place_of(to), to);
    }
    Sample take(size_t rank, size_t place) {
        const Sample sample = ranks_[rank][place];
        ranks_[rank].erase(ranks_[rank].begin() + static_cast<ptrdiff_t>(place));
        loads_[rank] -= sample.cost;
        return sample;
    }
    void insert(size_t rank, const Sample& sample) {
        Samples& samples = ranks_[rank];
        samples.insert(std::upper_bound(samples.begin(), samples.end(), sample, comes_before), sample);
        loads_[rank] += sample.cost;
    }

    const Limits& limits_;
    std::vector<Samples> ranks_;
    std::vector<int64_t> loads_;
    std::vector<size_t> by_load_;  // the ranks, from the least load on
};

// All splits of few samples, but for those that cannot be better than the best so far.
class Search {
   public:
    Search(const Samples& samples, size_t num_ranks, const Limits& limits, int64_t best, size_t steps)
        : samples_(samples), limits_(limits), best_(best), steps_(steps), smallest_{0}, ranks_(num_ranks) {
        for (auto sample = samples.rbegin(); sample != samples.rend(); ++sample)
            smallest_.push_back(smallest_.back() + sample->cost);
        place(0);
    }

    // Nothing where there is no better one.
    void write(std::vector<size_t>& rank_of) const {
        for (size_t i = 0; i < found_.size(); ++i)
            rank_of[static_cast<size_t>(samples_[i].index)] = found_[i];
    }

   private:
    struct Rank {
        int64_t load;
        size_t count;
        bool operator==(const Rank& other) const { return load == other.load && count == other.count; }
    };

    // Decides on samples i and after.
    void place(size_t i) {
        if (steps_ == 0 || best_ <= limits_.bound) return;
        --steps_;
        if (i == samples_.size()) {
            best_ = 0;
            for (const Rank& rank : ranks_) best_ = std::max(best_, rank.load);
            found_ = chosen_;
            return;
        }
        if (!has_room(smallest_[samples_.size() - i])) return;
        size_t choices[kLargestSearched];  // as many ranks as samples leave nothing to search
        size_t* const end = list_choices(choices);
        for (const size_t* choice = choices; choice != end; ++choice) {
            Rank& rank = ranks_[*choice];
            const Rank before = rank;
            const size_t others = limits_.least > rank.count ? limits_.least - rank.count - 1 : 0;
            if (rank.load + samples_[i].cost + smallest_[others] >= best_) continue;
            rank = {rank.load + samples_[i].cost, rank.count + 1};
            full_ += rank.count == limits_.most;
            chosen_.push_back(*choice);
            place(i + 1);
            chosen_.pop_back();
            full_ -= rank.count == limits_.most;
            rank = before;
        }
    }

    bool is_open(const Rank& rank) const {
        return rank.count + (full_ == limits_.ranks_with_most) < limits_.most;
    }

    // Whether so much more stays below the best so far.
    bool has_room(int64_t more) const {
        for (const Rank& rank : ranks_) {
            if (is_open(rank)) more -= best_ - 1 - rank.load;
            if (more <= 0) return true;
        }
        return false;
    }

    // The ranks that may have another, one of each kind, those with the least first.
    size_t* list_choices(size_t* end) const {
        size_t* const begin = end;
        for (size_t rank = 0; rank < ranks_.size(); ++rank) {
            const auto is_alike = [&](size_t other) { return ranks_[other] == ranks_[rank]; };
            if (is_open(ranks_[rank]) && std::none_of(begin, end, is_alike)) *end++ = rank;
        }
        std::sort(begin, end, [this](size_t x, size_t y) {
            return ranks_[x].load != ranks_[y].load ? ranks_[x].load < ranks_[y].load : x < y;
        });
        return end;
    }

    const Samples& samples_;
    const Limits& limits_;
    int64_t best_;
    size_t steps_;
    std::vector<int64_t> smallest_;  // [k]: the sum of the k smallest costs
    std::vector<Rank> ranks_;
    size_t full_ = 0;  // ranks that have the most samples
    std::vector<size_t> chosen_, found_;
};

// Groups the samples by rank, in their own order.
void write_groups(const std::vector<size_t>& rank_of, size_t num_ranks, int64_t* order, int64_t* offsets) {
    std::fill_n(offsets, num_ranks + 1, 0);
    for (const size_t rank : rank_of) ++offsets[rank + 1];
    std::partial_sum(offsets, offsets + num_ranks + 1, offsets);
    std::vector<int64_t> next(offsets, offsets + num_ranks);
    for (size_t i = 0; i < rank_of.size(); ++i) order[next[rank_of[i]]++] = static_cast<int64_t>(i);
}

}  // namespace

void balance(const double* lengths, size_t n, size_t num_ranks, double linear, double quadratic,
             bool equal_counts, int64_t* order, int64_t* offsets) {
    const Samples samples = sorted_by_cost(costs_of(lengths, n, linear, quadratic));
    const Limits limits(samples, num_ranks, equal_counts);
    Split split(samples, num_ranks, limits, equal_counts);
    split.refine(kRefineSteps + kRefineStepsASample * n);
    std::vector<size_t> rank_of(n);
    split.write(rank_of);
    if (n <= kLargestSearched && split.largest() > limits.bound) {
        const size_t steps = n <= kLargestProven ? SIZE_MAX : kSearchSteps;
        Search(samples, num_ranks, limits, split.largest(), steps).write(rank_of);
    }
    write_groups(rank_of, num_ranks, order, offsets);
}

}  // namespace pyscale
