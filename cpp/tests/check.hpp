// A test is a function with a name that reads as a fact; a check that fails ends it.
#pragma once

#include <cmath>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "latefusion/matting.hpp"

namespace latefusion {

struct Test {
  std::string file, name;
  std::function<void()> run;
};

inline std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Registered {
  Registered(std::string file, std::string name, std::function<void()> run) {
    all_tests().push_back({std::move(file), std::move(name), std::move(run)});
  }
};

// The code of the Error that a call throws. Fails where it throws none.
inline Code code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  throw std::runtime_error("no Error was thrown");
}

#define TEST(file, name)                                           \
  static void name();                                              \
  static const Registered name##_registered(#file, #name, name);   \
  static void name()

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::ostringstream line;                                                            \
      line << __FILE__ << ":" << __LINE__ << ": not true: " << #condition;                \
      throw std::runtime_error(line.str());                                               \
    }                                                                                     \
  } while (false)

#define CHECK_EQUAL(found, expected)                                                      \
  do {                                                                                    \
    const auto& found_ = (found);                                                         \
    const auto& expected_ = (expected);                                                   \
    if (!(found_ == expected_)) {                                                         \
      std::ostringstream line;                                                            \
      line << __FILE__ << ":" << __LINE__ << ": " << #found << " is " << found_           \
           << ", expected " << expected_;                                                 \
      throw std::runtime_error(line.str());                                               \
    }                                                                                     \
  } while (false)

#define CHECK_NEAR(found, expected) CHECK(std::abs((found) - (expected)) < 1e-5F)

}  // namespace latefusion
