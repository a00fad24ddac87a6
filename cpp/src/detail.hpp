// A view of a photo or a part of it, and how a closer one is pasted into the whole.
// The C++ of src/latefusion/inference/detail.py; change both together.
#pragma once

#include <opencv2/core.hpp>

#include "framing.hpp"
#include "lazy.hpp"

namespace latefusion {

// The network's view of a part of a photo.
struct Detail {
  cv::Rect box;
  Letterbox frame;
  Planes planes;

  // Pastes a plane of this view into that of the photo, with a soft seam inside the box.
  void paste(cv::Mat1f& whole, const cv::Mat1f& plane) const;
};

}  // namespace latefusion
