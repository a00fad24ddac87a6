#include "detail.hpp"

#include <algorithm>
#include <vector>

namespace latefusion {
namespace {

constexpr double SEAM_SHARE = 0.08;  // of the side, over which a view fades into the whole

// From 0 to 1 and back along a side of a box; it stays 1 at the photo's own edges.
std::vector<float> ramp(int first, int last, int length) {
  const int side = last - first;
  const auto width = static_cast<float>(std::max(1, cvRound(SEAM_SHARE * side)));
  std::vector<float> found(static_cast<size_t>(side), 1.0F);
  for (int i = 0; i < side; ++i) {
    float& value = found[static_cast<size_t>(i)];
    if (first > 0) {
      value = std::min(value, (static_cast<float>(i) + 0.5F) / width);
    }
    if (last < length) {
      value = std::min(value, (static_cast<float>(side - 1 - i) + 0.5F) / width);
    }
  }
  return found;
}

}  // namespace

void Detail::paste(cv::Mat1f& whole, const cv::Mat1f& plane) const {
  const cv::Mat1f closer = frame.restore(plane);
  const std::vector<float> down = ramp(box.y, box.br().y, whole.rows);
  const std::vector<float> across = ramp(box.x, box.br().x, whole.cols);
  for (int y = 0; y < box.height; ++y) {
    float* row = whole[box.y + y] + box.x;
    for (int x = 0; x < box.width; ++x) {
      row[x] += (closer(y, x) - row[x]) * down[static_cast<size_t>(y)] *
                across[static_cast<size_t>(x)];
    }
  }
}

}  // namespace latefusion
