// What --save can name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <opencv2/core.hpp>

#include "latefusion/matting.hpp"

namespace latefusion {

using Background = std::variant<cv::Vec3b, cv::Mat>;  // a colour or an image, BGR

// A photo, what the network found in it, and what it is to be put on, if anything.
struct Result {
  cv::Mat image;
  Matte matte;
  std::optional<Background> background;
  cv::Mat opacity;  // the photo's own alpha; empty where it has none
};

extern const char COMPOSITE[];  // the one kind that needs a background
extern const char SHEET[];      // all of them side by side, on green where there is no background

std::vector<std::string> all_kinds();

// The pixels of the PNG of one of `all_kinds`.
cv::Mat pixels(const std::string& kind, const Result& result);

}  // namespace latefusion
