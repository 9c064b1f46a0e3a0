#include "kernels/forest/masks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "core/half.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own intrinsics
#endif
#define PYSCALE_ISA_INC "kernels/forest/masks.inc"
#include "core/for_each_isa.h"

namespace pyscale::forest {

namespace {

constexpr uint32_t kZeros = 0, kOnes = 1, kTemporary = 2, kMostTemporary = 126;
constexpr uint32_t kFirstPredicate = kTemporary + kMostTemporary;
// Predicates of a tile: their words for 512 rows take a quarter of a usual second-level cache.
constexpr uint32_t kMostPredicates = 4096;

constexpr uint16_t address(uint32_t entry) { return static_cast<uint16_t>(entry * 8); }

// Turns trees into muxes.
class Compiler {
   public:
    Compiler(const Trees& from, const Coder& coder, const std::vector<bool>* cut, uint32_t most_predicates,
             uint32_t most_trees, Masks& to)
        : from_(from),
          coder_(coder),
          cut_(cut),
          most_predicates_(most_predicates),
          most_trees_(most_trees),
          to_(to),
          entry_of_(coder.test_numbers()) {
        for (uint32_t c = 0; c < coder.columns().size(); ++c) {
            const Column& column = coder.columns()[c];
            first_plane_.push_back(static_cast<uint32_t>(to.planes.size()));
            const size_t groups = column.categorical ? 1 : (column.thresholds.size() + 253) / 254;
            for (uint32_t g = 0; g < groups; ++g) to.planes.push_back({c, 254 * g});
        }
        ends_.resize(2 * to.planes.size());
    }

    void run() {
        begin_tile(0);
        for (size_t t = 0; t < from_.count; ++t) {
            const auto first = static_cast<size_t>(from_.first[t]);
            const size_t size = static_cast<size_t>(from_.first[t + 1]) - first;
            prefetch_entries(first, size);
            count_leaves(first, size);
            const bool full = in_tile_.size() + leaves_[0] > most_predicates_ && !in_tile_.empty();
            if (full || t - to_.tiles.back().begin >= most_trees_) {
                end_tile(t);
                begin_tile(t);
            }
            tree(t, first);
        }
        end_tile(from_.count);
    }

   private:
    // For each bit of the leaves' numbers, the entry that holds it for all rows.
    using Bits = std::array<uint32_t, kMostBits>;

    // A predicate of the tile, with the number of its test and its plane.
    struct Listed {
        uint32_t number, plane;
        Masks::Predicate predicate;
        size_t key() const { return 2 * size_t{plane} + (predicate.missing_left ? 0 : 1); }
    };

    bool ends_at(size_t at) const { return from_.is_leaf(at) || (cut_ != nullptr && (*cut_)[at]); }

    void count_leaves(size_t first, size_t size) {
        leaves_.assign(size, 0);
        std::vector<std::pair<size_t, bool>> stack{{0, false}};
        while (!stack.empty()) {
            auto& [node, seen] = stack.back();
            const size_t n = node, at = first + node;
            if (ends_at(at)) {
                leaves_[n] = 1;
                stack.pop_back();
            } else if (!seen) {
                seen = true;
                stack.push_back({static_cast<size_t>(from_.left[at]), false});
                stack.push_back({static_cast<size_t>(from_.right[at]), false});
            } else {
                leaves_[n] = leaves_[static_cast<size_t>(from_.left[at])] +
                             leaves_[static_cast<size_t>(from_.right[at])];
                stack.pop_back();
            }
        }
    }

    void begin_tile(size_t tree) {
        for (const Listed& listed : in_tile_) entry_of_[listed.number] = 0;
        in_tile_.clear();
        to_.tiles.push_back({static_cast<uint32_t>(tree), 0, static_cast<uint32_t>(to_.stretches.size()), 0});
    }

    // Sorts the tile's predicates by their planes; of one plane, those where the missing go left come first.
    void end_tile(size_t tree) {
        const size_t begin = to_.predicates.size();
        std::fill(ends_.begin(), ends_.end(), 0);
        for (const Listed& listed : in_tile_) ++ends_[listed.key()];
        std::inclusive_scan(ends_.begin(), ends_.end(), ends_.begin());
        for (uint32_t plane = 0; plane < to_.planes.size(); ++plane) {
            const uint32_t from = plane == 0 ? 0 : ends_[2 * plane - 1], to = ends_[2 * plane + 1];
            if (from < to) {
                to_.stretches.push_back(
                    {plane, static_cast<uint32_t>(begin + from), static_cast<uint32_t>(begin + to)});
            }
        }
        to_.predicates.resize(begin + in_tile_.size());
        for (size_t i = in_tile_.size(); i-- > 0;) {
            to_.predicates[begin + --ends_[in_tile_[i].key()]] = in_tile_[i].predicate;
        }
        to_.tiles.back().end = static_cast<uint32_t>(tree);
        to_.tiles.back().stretches_end = static_cast<uint32_t>(to_.stretches.size());
        to_.entries = std::max(to_.entries, kFirstPredicate + static_cast<uint32_t>(in_tile_.size()));
    }

    // The entry of a node's test in the tile.
    uint32_t predicate(const Test& test) {
        uint32_t& entry = entry_of_[test.number];
        if (entry == 0) {
            entry = kFirstPredicate + static_cast<uint32_t>(in_tile_.size());
            const uint32_t group = test.set ? 0 : test.bound / 254;
            Masks::Predicate made{address(entry), 0, test.missing_left, -1};
            if (test.set) {
                made.set = set(test);
            } else {
                made.bound = static_cast<uint8_t>(test.bound - 254 * group + (test.missing_left ? 1 : 0));
            }
            in_tile_.push_back({test.number, first_plane_[test.column] + group, made});
        }
        return entry;
    }

    int32_t set(const Test& test) {
        const auto [found, added] = set_numbers_.try_emplace({test.bound, test.missing_left},
                                                             static_cast<int32_t>(to_.sets.size() / 32));
        if (added) {
            uint8_t bytes[32] = {};
            const std::vector<uint32_t>& words = coder_.sets()[test.bound].words;
            std::memcpy(bytes, words.data(), std::min<size_t>(32, words.size() * 4));
            if (test.missing_left) bytes[0] |= 1;
            to_.sets.insert(to_.sets.end(), bytes, bytes + 32);
        }
        return found->second;
    }

    // Where a large model's tests have their entries is all over the memory.
    void prefetch_entries(size_t first, size_t size) const {
        for (size_t at = first; at < first + size; ++at) {
            __builtin_prefetch(entry_of_.data() + coder_.tests()[at].number, 1);
        }
    }

    void tree(size_t t, size_t first) {
        Masks::Tree made{};
        made.begin = static_cast<uint32_t>(to_.muxes.size());
        made.output = from_.output[t];
        while ((1u << made.bits) < leaves_[0]) ++made.bits;
        bits_ = made.bits;
        free_.clear();
        for (uint32_t i = kMostTemporary; i-- > 0;) free_.push_back(kTemporary + i);
        const size_t slots = size_t{1} << bits_;
        if (cut_ != nullptr) {
            made.table = static_cast<uint32_t>(to_.leaf_nodes.size());
            to_.leaf_nodes.resize(made.table + slots);
        } else if (from_.narrow_sums) {
            made.table = static_cast<uint32_t>(to_.narrow_table.size());
            to_.narrow_table.resize(made.table + slots * static_cast<size_t>(from_.width));
        } else {
            made.table = static_cast<uint32_t>(to_.wide_table.size());
            to_.wide_table.resize(made.table + slots * static_cast<size_t>(from_.width));
        }
        table_ = made.table;
        next_leaf_ = leaves_[0];
        const Bits numbers = node(first, 0);
        for (int b = 0; b < bits_; ++b) made.planes[b] = address(numbers[static_cast<size_t>(b)]);
        made.end = static_cast<uint32_t>(to_.muxes.size());
        to_.trees.push_back(made);
    }

    // Leaves get their numbers from the right to the left, and so the left one of two the odd one: their
    // lowest bit is then the test itself.
    Bits leaf(size_t at) {
        const uint32_t number = --next_leaf_;
        const size_t slots = size_t{1} << bits_;
        if (cut_ != nullptr) to_.leaf_nodes[table_ + number] = static_cast<uint32_t>(at);
        for (int32_t w = 0; w < (cut_ == nullptr ? from_.width : 0); ++w) {
            const size_t value = static_cast<size_t>(from_.left[at]) * static_cast<size_t>(from_.width) +
                                 static_cast<size_t>(w);
            const size_t to = table_ + static_cast<size_t>(w) * slots + number;
            if (from_.narrow_sums) {
                to_.narrow_table[to] = static_cast<float>(from_.values[value]);
            } else {
                to_.wide_table[to] = from_.values[value];
            }
        }
        Bits bits{};
        for (int b = 0; b < bits_; ++b) bits[static_cast<size_t>(b)] = number >> b & 1 ? kOnes : kZeros;
        return bits;
    }

    Bits node(size_t first, size_t number) {
        const size_t at = first + number;
        if (ends_at(at)) return leaf(at);
        const auto l = static_cast<size_t>(from_.left[at]), r = static_cast<size_t>(from_.right[at]);
        // The larger first: fewer words are held meanwhile.
        Bits left, right;
        if (leaves_[l] >= leaves_[r]) {
            left = node(first, l);
            right = node(first, r);
        } else {
            const uint32_t before = next_leaf_;
            next_leaf_ = before - leaves_[l];
            right = node(first, r);
            next_leaf_ = before;
            left = node(first, l);
            next_leaf_ = before - leaves_[l] - leaves_[r];
        }
        const uint32_t test = predicate(coder_.tests()[at]);
        for (size_t b = 0; b < static_cast<size_t>(bits_); ++b) {
            release(left[b]);
            release(right[b]);
        }
        Bits bits{};
        for (size_t b = 0; b < static_cast<size_t>(bits_); ++b) {
            if (left[b] == right[b]) {
                bits[b] = left[b];
            } else if (left[b] == kOnes && right[b] == kZeros) {
                bits[b] = test;
            }
        }
        for (size_t b = 0; b < static_cast<size_t>(bits_); ++b) {
            if (left[b] == right[b] || (left[b] == kOnes && right[b] == kZeros)) continue;
            bits[b] = take(left, right, b);
            to_.muxes.push_back({address(test), address(left[b]), address(right[b]), address(bits[b])});
        }
        return bits;
    }

    static bool is_temporary(uint32_t entry) { return entry >= kTemporary && entry < kFirstPredicate; }

    void release(uint32_t entry) {
        if (is_temporary(entry)) free_.push_back(entry);
    }

    // A free entry that no later bit of these two still reads.
    uint32_t take(const Bits& left, const Bits& right, size_t b) {
        for (size_t i = free_.size(); i-- > 0;) {
            bool needed = false;
            for (size_t later = b + 1; later < static_cast<size_t>(bits_); ++later) {
                needed = needed || left[later] == free_[i] || right[later] == free_[i];
            }
            if (!needed) {
                const uint32_t entry = free_[i];
                free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
                return entry;
            }
        }
        throw std::logic_error("Masks: out of temporary words");
    }

    const Trees& from_;
    const Coder& coder_;
    const std::vector<bool>* cut_;
    uint32_t most_predicates_, most_trees_;
    Masks& to_;
    std::vector<uint32_t> first_plane_, leaves_, free_;
    std::vector<uint32_t> entry_of_;  // by a test's number: 0 where it has none in the tile
    std::vector<Listed> in_tile_;
    std::vector<uint32_t> ends_;  // of the predicates of each key, while they are sorted
    std::map<std::pair<uint32_t, bool>, int32_t> set_numbers_;
    size_t table_ = 0;
    uint32_t next_leaf_ = 0;
    int bits_ = 0;
};

}  // namespace

bool Masks::can_take(const Trees& trees, const Coder& coder) {
    for (size_t t = 0; t < trees.count; ++t) {
        if (trees.first[t + 1] - trees.first[t] > 2 * (1 << kMostBits) - 1) return false;
    }
    for (const Column& column : coder.columns()) {
        if (column.categorical && column.last_code() > 255) return false;
    }
    // Addresses of values have 32 bits.
    return trees.count * static_cast<size_t>(trees.width) < (size_t{1} << (31 - kMostBits));
}

Masks::Masks(const Trees& from, const Coder& coder) : width(from.width) {
    Compiler(from, coder, nullptr, kMostPredicates, UINT32_MAX, *this).run();
    sets.resize(sets.size() + 32);  // read in whole registers
}

Masks::Masks(const Trees& from, const Coder& coder, const std::vector<bool>& cut, uint32_t most_predicates,
             uint32_t most_trees) {
    Compiler(from, coder, &cut, most_predicates, most_trees, *this).run();
    sets.resize(sets.size() + 32);
}

size_t Masks::scratch_bytes(int words) const {
    constexpr size_t kLine = 64;
    return (entries * 8 * static_cast<size_t>(words) + kLine - 1) / kLine * kLine;
}

void Masks::code(const Coder& coder, const Input& input, size_t first_row, size_t rows, int words, char* bits,
                 char* codes) const {
    const auto w = static_cast<size_t>(words);
    auto* const entry = reinterpret_cast<uint64_t*>(bits);
    std::fill_n(entry + kZeros * w, w, 0);
    std::fill_n(entry + kOnes * w, w, ~uint64_t{0});
    auto* const bytes = reinterpret_cast<uint8_t*>(codes);
    for (size_t piece = 0; piece < w; ++piece) {
        if (piece * 64 >= rows) {
            for (size_t p = 0; p < planes.size(); ++p) std::memset(bytes + (p * w + piece) * 64, 0, 64);
            continue;
        }
        uint32_t of_column[Coder::kRows] = {};
        for (size_t p = 0; p < planes.size(); ++p) {
            if (p == 0 || planes[p].column != planes[p - 1].column) {
                coder.code(coder.columns()[planes[p].column], input, first_row + piece * 64,
                           std::min<size_t>(64, rows - piece * 64), of_column);
            }
            PYSCALE_PICK_ISA(make_plane)(of_column, planes[p].first, bytes + (p * w + piece) * 64);
        }
    }
}

template <class T>
void Masks::add(int words, size_t begin, size_t end, const char* codes, char* bits, T* sums) const {
    const auto* const bytes = reinterpret_cast<const uint8_t*>(codes);
    auto* const entries_at = reinterpret_cast<uint64_t*>(bits);
    if constexpr (std::is_same_v<T, float>) {
        if (words == 1) {
            PYSCALE_PICK_ISA(add_narrow_small)(*this, begin, end, bytes, entries_at, sums);
        } else {
            PYSCALE_PICK_ISA(add_narrow_large)(*this, begin, end, bytes, entries_at, sums);
        }
    } else {
        if (words == 1) {
            PYSCALE_PICK_ISA(add_wide_small)(*this, begin, end, bytes, entries_at, sums);
        } else {
            PYSCALE_PICK_ISA(add_wide_large)(*this, begin, end, bytes, entries_at, sums);
        }
    }
}

template void Masks::add(int, size_t, size_t, const char*, char*, float*) const;
template void Masks::add(int, size_t, size_t, const char*, char*, double*) const;

void Masks::make_predicates(const Tile& tile, const char* codes, char* bits) const {
    PYSCALE_PICK_ISA(make_predicates_large)(*this, tile, reinterpret_cast<const uint8_t*>(codes),
                                            reinterpret_cast<uint64_t*>(bits));
}

void Masks::number(const Tree& tree, char* bits, uint8_t* numbers) const {
    PYSCALE_PICK_ISA(number_large)(*this, tree, bits, numbers);
}

}  // namespace pyscale::forest
