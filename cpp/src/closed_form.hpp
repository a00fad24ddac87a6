// The outline solved from the photo's own colours, starting at the network's alpha.
// The C++ of src/latefusion/inference/closed_form.py, which says more; change both together.
#pragma once

#include <opencv2/core.hpp>

namespace latefusion {

// Alpha (CV_32F) of a photo (CV_8UC3), solved from coarse to fine. `seen` is the scale at which
// alpha was found, 1 being the photo's own.
cv::Mat1f refine(const cv::Mat& image, const cv::Mat1f& alpha, double seen);

}  // namespace latefusion
