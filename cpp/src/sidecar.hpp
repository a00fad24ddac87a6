// The .json beside an exported network: what it says about the file, checked.
#pragma once

#include <optional>
#include <string>

#include <opencv2/core.hpp>

#include "latefusion/matting.hpp"
#include "lazy.hpp"

namespace latefusion {

struct Half {
  Reach reach;         // of the fusion network
  std::string sha256;  // of its file
};

struct Sidecar {
  std::string input;          // the name of the graph's input
  cv::Size size;              // of the network's input; empty for one of any size
  int side;                   // the longer side of the input, unless another is asked for
  std::string target;         // one of those of `latefusion export` that OpenCV reads
  std::string sha256;         // of the model file
  std::optional<Half> fusion;  // of a network in two files
};

// The sidecar of a model. Throws Error where it is damaged, or is not that of a network for OpenCV.
Sidecar read_sidecar(const Model& model);

}  // namespace latefusion
