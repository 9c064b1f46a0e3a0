#include "shm/stores.h"

#include <algorithm>

namespace pyscale {

namespace {

// The other ways are tried again after so many calls and pieces, and ever later as long as the best one
// stays; or where the cost has risen by this factor, after so few calls.
constexpr uint64_t kWindowPieces = 4;
constexpr uint64_t kPatientCalls = 64, kPatientPieces = 512, kMostPatience = 8, kAlarmedCalls = 8;
constexpr double kAlarm = 1.4;
constexpr double kGain = 0.9;  // less is no reason to change

constexpr uint64_t kLeastBytes = 2048;  // below, neither way takes long
constexpr uint32_t kLargestCost = 0xFFFF;

int log2_of(uint64_t value) { return 63 - __builtin_clzll(value); }

}  // namespace

void StoreChoice::count(uint64_t pieces) {
    ++calls_;
    pieces_ += pieces;
}

void StoreChoice::record(Writes writes, uint32_t cost, uint64_t pieces) {
    if (writes != this->writes()) return;  // it began before the last change
    const uint64_t settling = std::min(unsettled_, pieces);
    unsettled_ -= settling;
    if (pieces <= settling) return;
    window_cost_ = std::min(window_cost_, cost);
    window_pieces_ += pieces;
    if (window_pieces_ < kWindowPieces) return;
    const uint32_t least = window_cost_;
    window_pieces_ = 0;
    window_cost_ = std::numeric_limits<uint32_t>::max();

    if (step_ == 0) {
        if (!is_time_to_try(least)) return;
        if (least > kAlarm * best_cost_) patience_ = 1;
        best_cost_ = winner_cost_ = least;
        winner_ = 0;
        return try_next();
    }
    if (least < winner_cost_ && least < kGain * best_cost_) {
        winner_ = step_;
        winner_cost_ = least;
    }
    step_ + 1 < kWrites ? try_next() : end_round();
}

bool StoreChoice::is_time_to_try(uint32_t cost) const {
    const bool first = best_cost_ == 0;
    const bool late = calls_ >= patience_ * kPatientCalls && pieces_ >= patience_ * kPatientPieces;
    const bool alarmed = calls_ >= kAlarmedCalls && cost > kAlarm * best_cost_;
    return first || late || alarmed;
}

void StoreChoice::try_next() {
    ++step_;
    unsettled_ = kSettlingPieces;
}

void StoreChoice::end_round() {
    patience_ = winner_ == 0 ? std::min(2 * patience_, kMostPatience) : 1;
    if (winner_ != step_) unsettled_ = kSettlingPieces;
    best_ = static_cast<Writes>((static_cast<int>(best_) + winner_) % kWrites);
    best_cost_ = winner_cost_;
    step_ = 0;
    calls_ = pieces_ = 0;
}

void Stores::begin(Collective collective, uint64_t bytes) {
    bytes_ = bytes;
    choice_ = nullptr;
    writes_ = Writes::cached;
    timed_ = false;
    if (bytes < kLeastBytes) return;
    const int size_class = std::min(log2_of(bytes) - log2_of(kLeastBytes), kClasses - 1);
    choice_ = &choices_[static_cast<int>(collective)][size_class];
    writes_ = choice_->writes();
    timed_ = choice_->wants_cost();
    worked_ = {};
}

void Stores::end(uint64_t pieces) {
    if (choice_ == nullptr) return;
    choice_->count(pieces);
    if (!timed_) return;
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(worked_).count();
    const double cost = 1024.0 * static_cast<double>(nanoseconds) / static_cast<double>(bytes_);
    ended_ = {choice_, writes_, static_cast<uint32_t>(std::clamp(cost, 1.0, double{kLargestCost})), pieces};
}

void Stores::learn(uint32_t costs) {
    ended_.choice->record(ended_.writes, costs, ended_.pieces);
    ended_ = {};
}

}  // namespace pyscale
