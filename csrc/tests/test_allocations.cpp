// Models that have answered once take no memory to answer again: every allocation of C++ is counted.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#include "check.h"
#include "kernels/dense/dense.h"
#include "kernels/embedding/embedding.h"
#include "kernels/forest/forest.h"
#include "kernels/topk/topk.h"

using namespace pyscale;

namespace {

std::atomic<long> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
    ++allocations;
    const std::size_t whole = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
    void* const memory = std::aligned_alloc(alignment, whole);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

constexpr std::size_t kMost = 1000;  // rows

// Of answers to one row, to some, and to many, after one to the most.
template <class F>
long allocations_of(const F& answer) {
    answer(kMost);
    const long before = allocations;
    for (const std::size_t rows : {std::size_t{1}, std::size_t{7}, std::size_t{64}, kMost}) answer(rows);
    return allocations - before;
}

std::vector<float> numbers(std::size_t count) {
    std::vector<float> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
    return out;
}

}  // namespace

// Not inlined: compilers take what is new on one side and free() on the other for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    return counted(size, static_cast<std::size_t>(alignment));
}
// Sanitizers have one of their own, that would not match.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return counted(size, alignof(std::max_align_t));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

TEST(what_is_counted) {
    const long before = allocations;
    std::vector<double> some(10);
    CHECK(some[3] == 0 && allocations == before + 1);
}

TEST(dense_layers) {
    constexpr std::size_t inputs = 33, hidden = 70, outputs = 3;
    const auto first = numbers(hidden * inputs), last = numbers(outputs * hidden),
               x = numbers(kMost * inputs);
    const std::vector<double> ones(hidden, 1), zeros(hidden);
    const std::vector<int8_t> bytes(outputs * hidden, 3);
    const std::vector<float> scales(outputs, 0.1f);
    const dense::Input rows{reinterpret_cast<const char*>(x.data()), inputs * sizeof(float), sizeof(float),
                            false};
    std::vector<float> out(kMost * outputs);
    for (const bool narrow : {false, true}) {
        dense::Dense model(inputs);
        model.add_linear(first.data(), nullptr, inputs, hidden, dense::WeightType::bfloat16);
        model.add_activation(dense::Activation::gelu, 0);
        model.add_layer_norm(ones.data(), zeros.data(), hidden, 1e-5);
        if (narrow) {
            model.add_linear_int8(bytes.data(), scales.data(), nullptr, hidden, outputs, {});
        } else {
            model.add_linear(last.data(), nullptr, hidden, outputs, dense::WeightType::float32);
        }
        model.add_softmax();
        const auto answer = [&](std::size_t count) { model.predict(rows, count, out.data(), 1); };
        CHECK_EQ(allocations_of(answer), 0L);
    }
}

TEST(forests) {
    // 40 trees of 31 nodes: node k has the children 2 k + 1 and 2 k + 2, the last 16 are leaves.
    constexpr std::size_t count = 40, nodes = 31, splits = 15, features = 5;
    std::vector<int64_t> first;
    std::vector<int32_t> feature, left, right, output(count);
    std::vector<double> threshold, values, base(1);
    for (std::size_t t = 0; t <= count; ++t) first.push_back(static_cast<int64_t>(t * nodes));
    for (std::size_t k = 0; k < count * nodes; ++k) {
        const auto place = static_cast<int32_t>(k % nodes);
        const bool leaf = place >= static_cast<int32_t>(splits);
        feature.push_back(leaf ? -1 : static_cast<int32_t>(k * 7 % features));
        threshold.push_back(static_cast<double>(k * 31 % 100) / 50 - 1);
        left.push_back(leaf ? static_cast<int32_t>(values.size()) : 2 * place + 1);
        right.push_back(leaf ? 0 : 2 * place + 2);
        if (leaf) values.push_back(static_cast<double>(k % 9));
    }
    const std::vector<uint8_t> missing_left(count * nodes);
    forest::Trees trees{};
    trees.features = features;
    trees.outputs = trees.width = 1;
    trees.count = count;
    trees.first = first.data();
    trees.output = output.data();
    trees.nodes = count * nodes;
    trees.feature = feature.data();
    trees.threshold = threshold.data();
    trees.left = left.data();
    trees.right = right.data();
    trees.missing_left = missing_left.data();
    trees.leaves = values.size();
    trees.values = values.data();
    trees.base = base.data();
    const forest::Forest model(trees);
    const auto x = numbers(kMost * features);
    const forest::Input rows{reinterpret_cast<const char*>(x.data()), features * sizeof(float), sizeof(float),
                             false};
    std::vector<double> out(kMost);
    std::vector<int32_t> reached(kMost * count);
    using forest::Engine;
    for (const Engine engine : {Engine::choose, Engine::masks, Engine::hybrid, Engine::walk}) {
        const auto answer = [&](std::size_t n) {
            model.predict(rows, n, 0, count, forest::Link{}, out.data(), 1, engine);
        };
        CHECK_EQ(allocations_of(answer), 0L);
    }
    const auto leaves = [&](std::size_t n) { model.leaves(rows, n, 0, count, reached.data(), 1); };
    CHECK_EQ(allocations_of(leaves), 0L);
}

TEST(searches_and_bags) {
    constexpr std::size_t count = 500, width = 20, k = 5;
    const auto matrix = numbers(count * width), x = numbers(kMost * width);
    std::vector<float> out(kMost * width), scores(kMost * k);
    std::vector<int64_t> found(kMost * k), indices(kMost * 4);
    for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i * 13 % count);
    const topk::TopK search(matrix.data(), count, width, topk::Metric::l2, false);
    const auto nearest = [&](std::size_t n) {
        search.search(x.data(), n, k, nullptr, scores.data(), found.data(), 1);
    };
    CHECK_EQ(allocations_of(nearest), 0L);
    const embedding::Table table(matrix.data(), count, width, DType::float32);
    const auto sums = [&](std::size_t n) {
        embedding::Bags bags{};
        bags.indices = {indices.data(), true, n * 4};
        bags.count = n;
        bags.each = 4;
        bags.padding = -1;
        table.reduce(bags, embedding::Mode::sum, out.data(), 1);
    };
    CHECK_EQ(allocations_of(sums), 0L);
}
