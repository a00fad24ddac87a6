// Lazy fusion: the fusion network runs only where the branches disagree, with a bounded error.
// The C++ of src/latefusion/runtime/lazy.py, which says more; change both together.
#pragma once

#include <functional>

#include <opencv2/core.hpp>

namespace latefusion {

// What a network found in an image, all CV_32F of its size; `fused` is the share of tiles in which
// the fusion network ran. `blend` is 1/2 in the others.
struct Planes {
  cv::Mat1f alpha, fg, bg, blend;
  double fused = 1;
};

// How far the fusion network sees around a part, in pixels: of a part inside the image, and of one
// that touches its border. Both are even.
struct Reach {
  int inside, border;
};

// The blend of a part of the image, whose origin and size are even. `at_border` says that it touches
// the image's border.
using Fusion = std::function<cv::Mat1f(const cv::Rect& part, bool at_border)>;

// Equation 2 of the paper.
cv::Mat1f fused(const cv::Mat1f& fg, const cv::Mat1f& bg, const cv::Mat1f& blend);

// The planes of an image from its fg and bg. `fusion` runs on the tiles that hold a pixel whose doubt
// |fg + bg - 1| is at least `epsilon`; 0 means all.
Planes fuse_lazily(const cv::Mat1f& fg, const cv::Mat1f& bg, const Fusion& fusion, Reach reach,
                   double epsilon);

}  // namespace latefusion
