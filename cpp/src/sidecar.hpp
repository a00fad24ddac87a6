// The .json beside an exported network: what it says about the file, checked.
#pragma once

#include <filesystem>
#include <string>

#include <opencv2/core.hpp>

namespace latefusion {

struct Sidecar {
  std::string input;  // the name of the graph's input
  cv::Size size;      // of the network's input
  double bytes;       // of the model file
};

// The sidecar of a model file. Throws Error where it is missing, damaged, or is not that of a
// network for OpenCV.
Sidecar read_sidecar(const std::filesystem::path& model);

}  // namespace latefusion
