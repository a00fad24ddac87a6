// What the library is given, checked, and planes as levels.
#pragma once

#include <string>

#include <opencv2/core.hpp>

#include "latefusion/matting.hpp"

namespace latefusion {

inline void check_image(const cv::Mat& image, const std::string& name) {
  if (image.empty() || image.dims != 2 || image.type() != CV_8UC3) {
    throw Error(Code::argument, "the " + name +
                                    " is empty or not 8-bit BGR; give a cv::Mat of type CV_8UC3");
  }
}

inline bool is_plane(const cv::Mat& given, cv::Size size) {
  return given.dims == 2 && given.type() == CV_32F && given.size() == size;
}

inline void check_pair(const cv::Mat& image, const cv::Mat& alpha) {
  check_image(image, "image");
  if (!is_plane(alpha, image.size())) {
    throw Error(Code::argument,
                "the alpha is not a plane of the image's size; give a cv::Mat of type CV_32F");
  }
}

// A plane in [0, 1] as levels from 0 to 255, halves to even.
inline cv::Mat to_levels(const cv::Mat& plane) {
  cv::Mat levels;
  plane.convertTo(levels, CV_8U, 255);
  return levels;
}

// Alpha of an image that is itself transparent; `opacity` is empty where it is not. Throws Error.
inline cv::Mat faded(const cv::Mat& alpha, const cv::Mat& opacity) {
  if (opacity.empty()) {
    return alpha;
  }
  if (!is_plane(opacity, alpha.size())) {
    throw Error(Code::argument,
                "the opacity is not a plane of the image's size; give a cv::Mat of type CV_32F");
  }
  return alpha.mul(opacity);
}

// The subject's share of each pixel's colour: alpha, but 0 where the image shows nothing.
inline cv::Mat mixed(const cv::Mat& alpha, const cv::Mat& opacity) {
  if (opacity.empty()) {
    return alpha;
  }
  cv::Mat mix = alpha.clone();
  mix.setTo(0, opacity == 0);
  return mix;
}

}  // namespace latefusion
