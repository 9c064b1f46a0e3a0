#include "shm/stores.h"

#include <algorithm>

namespace pyscale {

namespace {

// The other way is tried again after so many calls and pieces; or where the cost has risen by this factor,
// after so few calls.
constexpr uint64_t kWindowPieces = 4;
constexpr uint64_t kPatientCalls = 64, kPatientPieces = 512, kAlarmedCalls = 8;
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

void StoreChoice::record(bool streamed, uint32_t cost, uint64_t pieces) {
    if (streamed != streaming()) return;  // it began before the last change
    const uint64_t settling = std::min(unsettled_, pieces);
    unsettled_ -= settling;
    if (pieces <= settling) return;
    window_cost_ = std::min(window_cost_, cost);
    window_pieces_ += pieces;
    if (window_pieces_ < kWindowPieces) return;
    const uint32_t least = window_cost_;
    window_pieces_ = 0;
    window_cost_ = std::numeric_limits<uint32_t>::max();

    if (trying_) return end_trial(least);
    const bool first = chosen_cost_ == 0;
    const bool late = calls_ >= kPatientCalls && pieces_ >= kPatientPieces;
    const bool alarmed = calls_ >= kAlarmedCalls && least > kAlarm * chosen_cost_;
    if (first || late || alarmed) begin_trial(least);
}

void StoreChoice::begin_trial(uint32_t cost) {
    trying_ = true;
    chosen_cost_ = cost;
    unsettled_ = kSettlingPieces;
}

void StoreChoice::end_trial(uint32_t cost) {
    trying_ = false;
    calls_ = pieces_ = 0;
    if (cost < kGain * chosen_cost_) {
        streaming_ = !streaming_;
        chosen_cost_ = cost;
    } else {
        unsettled_ = kSettlingPieces;  // the way changes back
    }
}

void Stores::begin(Collective collective, uint64_t bytes) {
    bytes_ = bytes;
    choice_ = nullptr;
    streaming_ = timed_ = false;
    if (bytes < kLeastBytes) return;
    const int size_class = std::min(log2_of(bytes) - log2_of(kLeastBytes), kClasses - 1);
    choice_ = &choices_[static_cast<int>(collective)][size_class];
    streaming_ = choice_->streaming();
    timed_ = choice_->wants_cost();
    worked_ = {};
}

void Stores::end(uint64_t pieces) {
    if (choice_ == nullptr) return;
    choice_->count(pieces);
    if (!timed_) return;
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(worked_).count();
    const double cost = 1024.0 * static_cast<double>(nanoseconds) / static_cast<double>(bytes_);
    ended_ = {choice_, streaming_, static_cast<uint32_t>(std::clamp(cost, 1.0, double{kLargestCost})),
              pieces};
}

void Stores::learn(uint32_t costs) {
    ended_.choice->record(ended_.streamed, costs, ended_.pieces);
    ended_ = {};
}

}  // namespace pyscale
