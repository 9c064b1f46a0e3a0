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

// Below, no way takes long, and outputs stay in the caches.
constexpr uint64_t kLeastStaged = 2 << 10, kLeastOutput = 512 << 10;
constexpr uint32_t kLargestCost = 0xFFFF;

// -1: none.
int class_of(uint64_t bytes, uint64_t least, int classes) {
    if (bytes < least) return -1;
    return std::min(63 - __builtin_clzll(bytes / least), classes - 1);
}

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
    step_ + 1 < ways_ ? try_next() : end_round();
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
    best_ = static_cast<Writes>((static_cast<int>(best_) + winner_) % ways_);
    best_cost_ = winner_cost_;
    step_ = 0;
    calls_ = pieces_ = 0;
}

void Stores::begin(Collective collective, uint64_t bytes) {
    const int size_class = class_of(bytes, kLeastStaged, kClasses);
    begin_with(size_class < 0 ? nullptr : &staging_[static_cast<int>(collective)][size_class], bytes);
}

void Stores::begin_outputs(uint64_t bytes) {
    const int size_class = class_of(bytes, kLeastOutput, kClasses);
    begin_with(size_class < 0 ? nullptr : &outputs_[size_class], bytes);
}

void Stores::begin_with(StoreChoice* choice, uint64_t bytes) {
    choice_ = choice;
    bytes_ = bytes;
    writes_ = choice == nullptr ? Writes::cached : choice->writes();
    timed_ = choice != nullptr && choice->wants_cost();
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
