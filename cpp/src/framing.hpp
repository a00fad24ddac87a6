// From a photo's size to the network's and back: the only resizing and padding.
// The C++ of src/latefusion/images/framing.py; change both together.
#pragma once

#include <utility>
#include <vector>

#include <opencv2/core.hpp>

namespace latefusion {

// Of the sides of a network's input.
constexpr int MULTIPLE = 32;   // the encoder halves its input five times
constexpr int LARGEST = 2048;  // longer sides need more than 10 GB in the fusion network

// Where a photo lies in the network's input: resized to `inner`, centred in `outer`.
struct Letterbox {
  cv::Size photo;
  cv::Rect inner;
  cv::Size outer;

  // Pixels of the network's input per pixel of the photo.
  double scale() const;

  // A photo as the network's input (CV_32FC3, 0 to 255) of size `outer`, its edge pixels repeated.
  // The levels are not rounded: builds of OpenCV would round them differently, and a network makes
  // more of one level than one level.
  cv::Mat fit(const cv::Mat& image) const;

  // A plane of the network's output of size `outer` in [0, 1] at the photo's size.
  cv::Mat restore(const cv::Mat& plane) const;
};

// A photo whose longer side is resized to `side`, in the smallest input in multiples of 32.
Letterbox letterbox(cv::Size photo, int side);

// A photo resized to `inner` in the middle of an input of size `outer`.
Letterbox placed(cv::Size photo, cv::Size inner, cv::Size outer);

// As large as a photo fits into a network input of one fixed size, its proportions kept.
Letterbox into(cv::Size photo, cv::Size outer);

// The scales of the passes that follow one at scale `seen`, up to `last`; each at most doubles.
std::vector<double> scales(double seen, double last);

// A length as the fewest equal intervals (start, end) of at most `longest` that share `shared`.
std::vector<std::pair<int, int>> cuts(int length, int longest, int shared);

// An image resized to fill `size` with its proportions kept, the middle of it.
cv::Mat cover(const cv::Mat& image, cv::Size size);

// Pixels at another size, of the same type; bicubic where they grow.
cv::Mat resize(const cv::Mat& pixels, cv::Size size);

// A plane in [0, 1] at another size, clipped because bicubic interpolation overshoots.
cv::Mat resize_plane(const cv::Mat& plane, cv::Size size);

}  // namespace latefusion
