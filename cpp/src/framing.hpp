// From a photo's size to the network's and back: the only resizing and padding.
// The C++ of src/latefusion/images/framing.py; change both together.
#pragma once

#include <opencv2/core.hpp>

namespace latefusion {

// Where a photo lies in the network's input: resized to `inner`, centred in `outer`.
struct Letterbox {
  cv::Size photo;
  cv::Rect inner;
  cv::Size outer;

  // A photo as the network's input (CV_32FC3, 0 to 255) of size `outer`, its edge pixels repeated.
  // The levels are not rounded: builds of OpenCV would round them differently, and a network makes
  // more of one level than one level.
  cv::Mat fit(const cv::Mat& image) const;

  // A plane of the network's output of size `outer` in [0, 1] at the photo's size.
  cv::Mat restore(const cv::Mat& plane) const;
};

// As large as a photo fits into a network input of one fixed size, its proportions kept.
Letterbox into(cv::Size photo, cv::Size outer);

// An image resized to fill `size` with its proportions kept, the middle of it.
cv::Mat cover(const cv::Mat& image, cv::Size size);

// Pixels at another size, of the same type; bicubic where they grow.
cv::Mat resize(const cv::Mat& pixels, cv::Size size);

}  // namespace latefusion
