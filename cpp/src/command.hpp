// The command line.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "latefusion/matting.hpp"

namespace latefusion {

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What the command line says.
struct Command {
  std::filesystem::path model, image;
  Options options;
  std::string background;          // a colour or a file, empty where there is none
  std::vector<std::string> kinds;  // what is saved, of `all_kinds`
  std::filesystem::path out = ".";
  bool show = false, help = false, version = false;

  // Where one kind is saved.
  std::filesystem::path file(const std::string& kind) const;
};

extern const char HELP[];

// Throws UsageError.
Command parse(const std::vector<std::string>& arguments);

}  // namespace latefusion
