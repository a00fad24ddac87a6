// From a file to the photo's pixels: orientation, bit depth and transparency stay here.
#pragma once

#include <filesystem>

#include <opencv2/core.hpp>

namespace latefusion {

struct Photo {
  cv::Mat image;    // CV_8UC3, BGR, upright
  cv::Mat opacity;  // CV_32F, the photo's own alpha; empty where it has none
};

// Throws Error.
Photo read_photo(const std::filesystem::path& file);

}  // namespace latefusion
