#pragma once
// A test is a program: TEST(name) { CHECK(…); }, any number of them, and the main() below. Checks may be used
// in any thread.

#include <atomic>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace pyscale::test {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline std::atomic<int> failures{0};

inline bool add(const char* name, void (*run)()) {
    tests().push_back({name, run});
    return true;
}

inline void fail(const char* file, int line, const std::string& what) {
    constexpr int shown = 20;
    if (failures.fetch_add(1) < shown) {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
    }
}

template <class A, class B>
void check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
    if (!(a == b)) {
        std::ostringstream out;
        out << text << ": " << a << " and " << b;
        fail(file, line, out.str());
    }
}

}  // namespace pyscale::test

#define TEST(name)                                                      \
    static void name();                                                 \
    static const bool name##_added = ::pyscale::test::add(#name, name); \
    static void name()

#define CHECK(condition) \
    ((condition) ? void() : ::pyscale::test::fail(__FILE__, __LINE__, "CHECK(" #condition ") failed"))

#define CHECK_EQ(a, b) ::pyscale::test::check_equal(a, b, "CHECK_EQ(" #a ", " #b ")", __FILE__, __LINE__)

// That expression throws an exception of type whose message contains text.
#define CHECK_THROWS(expression, type, text)                                                             \
    do {                                                                                                 \
        try {                                                                                            \
            expression;                                                                                  \
            ::pyscale::test::fail(__FILE__, __LINE__, #expression ": nothing was thrown");               \
        } catch (const type& error) {                                                                    \
            if (std::strstr(error.what(), text) == nullptr) {                                            \
                ::pyscale::test::fail(__FILE__, __LINE__, std::string(#expression ": ") + error.what()); \
            }                                                                                            \
        }                                                                                                \
    } while (false)

// Runs all tests, or those whose names are given.
int main(int argc, char** argv) {
    for (const auto& test : pyscale::test::tests()) {
        bool wanted = argc < 2;
        for (int i = 1; i < argc; ++i) {
            wanted = wanted || std::strcmp(argv[i], test.name) == 0;
        }
        if (wanted) {
            const int before = pyscale::test::failures;
            test.run();
            std::printf("%s %s\n", pyscale::test::failures == before ? "ok    " : "FAILED", test.name);
            std::fflush(stdout);
        }
    }
    return pyscale::test::failures == 0 ? 0 : 1;
}
