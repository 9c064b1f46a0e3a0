#include "kernels/forest/trees.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace pyscale::forest {

namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& got) {
    throw std::invalid_argument(where + ": expected " + expected + ", got " + got);
}

std::string place(const char* what, size_t tree, int64_t node) {
    return std::string(what) + " of node " + std::to_string(node) + " of tree " + std::to_string(tree);
}

void check_range(const std::string& where, int64_t low, int64_t high, int64_t got) {
    if (got < low || got > high) {
        refuse(where, std::to_string(low) + " to " + std::to_string(high), std::to_string(got));
    }
}

// Of a node: the words are put together only where they are needed.
void check_range(const char* what, size_t tree, int64_t node, int64_t low, int64_t high, int64_t got) {
    if (got < low || got > high) check_range(place(what, tree, node), low, high, got);
}

void check_node(const Trees& trees, size_t tree, int64_t first, int64_t size, int64_t number) {
    const auto node = static_cast<size_t>(first + number);
    if (trees.is_leaf(node)) {
        check_range("left", tree, number, 0, static_cast<int64_t>(trees.leaves) - 1, trees.left[node]);
        return;
    }
    check_range("feature", tree, number, 0, trees.features - 1, trees.feature[node]);
    check_range("left", tree, number, 1, size - 1, trees.left[node]);
    check_range("right", tree, number, 1, size - 1, trees.right[node]);
    if (trees.category_set != nullptr) {
        check_range("category_set", tree, number, -1, static_cast<int64_t>(trees.sets) - 1,
                    trees.category_set[node]);
    }
    if (!trees.is_set(node) && std::isnan(trees.threshold[node])) {
        refuse(place("threshold", tree, number), "a number", "NaN");
    }
    if (!trees.is_set(node) && trees.narrow &&
        static_cast<double>(static_cast<float>(trees.threshold[node])) != trees.threshold[node]) {
        refuse(place("threshold", tree, number), "a float32", std::to_string(trees.threshold[node]));
    }
}

void check_sets(const Trees& trees) {
    if (trees.sets > 0 && trees.set_first[0] != 0) refuse("set_first", "0 first", "another number");
    for (size_t s = 0; s < trees.sets; ++s) {
        if (trees.set_first[s] > trees.set_first[s + 1]) {
            refuse("set_first", "ascending numbers", std::to_string(trees.set_first[s + 1]));
        }
        for (int64_t i = trees.set_first[s]; i < trees.set_first[s + 1]; ++i) {
            const bool ascends = i == trees.set_first[s] || trees.set_values[i - 1] < trees.set_values[i];
            if (trees.set_values[i] < 0 || !ascends) {
                refuse("set " + std::to_string(s), "ascending categories from 0 on",
                       std::to_string(trees.set_values[i]));
            }
        }
    }
    for (const Trees::Known& known : trees.known) {
        for (size_t i = 0; i < known.categories.size(); ++i) {
            if (known.categories[i] < 0 || (i > 0 && known.categories[i - 1] >= known.categories[i])) {
                refuse("known_categories of feature " + std::to_string(known.feature),
                       "ascending categories from 0 on", std::to_string(known.categories[i]));
            }
        }
    }
}

void check_linear(const Trees& trees) {
    if (trees.linear_first == nullptr) return;
    if (trees.width != 1 || trees.narrow_sums) refuse("linear", "a width of 1 and float64 sums", "others");
    if (trees.linear_first[0] != 0 ||
        trees.linear_first[trees.leaves] != static_cast<int64_t>(trees.linear_terms)) {
        refuse("linear.first", "0 first and the number of terms last", "others");
    }
    for (size_t leaf = 0; leaf < trees.leaves; ++leaf) {
        if (trees.linear_first[leaf] > trees.linear_first[leaf + 1]) {
            refuse("linear.first", "ascending numbers", std::to_string(trees.linear_first[leaf + 1]));
        }
    }
    for (size_t term = 0; term < trees.linear_terms; ++term) {
        check_range("linear.feature", 0, trees.features - 1, trees.linear_feature[term]);
    }
}

}  // namespace

void check(const Trees& trees) {
    check_range("num_features", 0, INT32_MAX, trees.features);
    check_range("num_outputs", 1, INT32_MAX, trees.outputs);
    check_range("width of values", 1, trees.outputs, trees.width);
    check_range("nodes", 0, INT32_MAX, static_cast<int64_t>(trees.nodes));
    check_range("leaves", 0, INT32_MAX, static_cast<int64_t>(trees.leaves));
    if (trees.first[0] != 0) refuse("first", "0 first", std::to_string(trees.first[0]));
    if (trees.first[trees.count] != static_cast<int64_t>(trees.nodes)) {
        refuse("first", std::to_string(trees.nodes) + " last", std::to_string(trees.first[trees.count]));
    }
    check_sets(trees);
    check_linear(trees);
    std::vector<int32_t> to_visit;
    std::vector<bool> visited(trees.nodes);
    for (size_t t = 0; t < trees.count; ++t) {
        const int64_t first = trees.first[t], size = trees.first[t + 1] - first;
        if (size < 1 || first + size > static_cast<int64_t>(trees.nodes)) {
            refuse("first of tree " + std::to_string(t), "ascending numbers",
                   std::to_string(trees.first[t + 1]));
        }
        check_range("output", t, 0, 0, trees.outputs - trees.width, trees.output[t]);
        int64_t reached = 0;
        to_visit.assign(1, 0);
        while (!to_visit.empty()) {
            const int32_t number = to_visit.back();
            to_visit.pop_back();
            const auto node = static_cast<size_t>(first + number);
            if (visited[node]) {
                refuse("tree " + std::to_string(t), "every node to be one node's child",
                       "node " + std::to_string(number) + " again");
            }
            visited[node] = true;
            ++reached;
            check_node(trees, t, first, size, number);
            if (!trees.is_leaf(node)) {
                to_visit.push_back(trees.right[node]);
                to_visit.push_back(trees.left[node]);
            }
        }
        if (reached != size) {
            refuse("tree " + std::to_string(t), "every node to be reached from its root",
                   std::to_string(size - reached) + " that are not");
        }
    }
}

}  // namespace pyscale::forest
