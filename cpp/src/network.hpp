// A network in OpenCV's dnn module: from the network's input to planes.
#pragma once

#include <string>

#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include "framing.hpp"
#include "latefusion/matting.hpp"
#include "lazy.hpp"
#include "sidecar.hpp"

namespace latefusion {

// A network in one file of fixed size, or in two of any size with lazy fusion.
class Network {
 public:
  // Throws Error.
  Network(const Model& model, const Options& options);

  // Where a photo lies in the input.
  Letterbox frame(cv::Size photo) const;

  // The planes of an input (CV_32FC3, BGR, 0 to 255). Adds its milliseconds. Throws Error.
  Planes run(const cv::Mat& input, double& milliseconds);

 private:
  Planes whole(const cv::Mat& blob);
  Planes in_halves(const cv::Mat& blob);

  std::string name_;  // for messages
  Sidecar sidecar_;
  int side_;
  double epsilon_;
  cv::dnn::Net net_;              // the whole network, or its branches
  cv::dnn::Net inside_, border_;  // the fusion network for parts inside the image and at its border
};

}  // namespace latefusion
