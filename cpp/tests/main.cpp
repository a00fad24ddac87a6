// latefusion-tests [FILE]: runs the tests of one file, or all.
#include <cstdio>
#include <exception>

#include "check.hpp"

int main(int count, char** words) {
  const std::string wanted = count > 1 ? words[1] : "";
  int ran = 0, failed = 0;
  for (const latefusion::Test& test : latefusion::all_tests()) {
    if (!wanted.empty() && wanted != test.file) {
      continue;
    }
    ++ran;
    try {
      test.run();
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED %s: %s\n", test.name.c_str(), error.what());
    }
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return ran == 0 || failed > 0 ? 1 : 0;
}
