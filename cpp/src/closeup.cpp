#include "closeup.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <opencv2/imgproc.hpp>

namespace latefusion {
namespace {

constexpr double MARGIN = 0.2;        // around the subject, as a share of its longer side
constexpr double LEAST_ZOOM = 1.2;    // a smaller gain in resolution is not worth a second pass
constexpr double SPECK = 0.05;        // parts below this share of the largest one's area are ignored
constexpr double MOST_FLIPPED = 0.1;  // share of the subject
constexpr float SURE = 0.9F, UNSURE = static_cast<float>(1 - 0.9);

// The box of all parts that are not small beside the largest one, in pixels from the corner.
cv::Rect find_subject(const cv::Mat1f& inner) {
  cv::Mat parts, stats, centres;
  const int count = cv::connectedComponentsWithStats(inner > 0.5, parts, stats, centres);
  int largest = 0;
  for (int part = 1; part < count; ++part) {
    largest = std::max(largest, stats.at<int>(part, cv::CC_STAT_AREA));
  }
  cv::Rect box;  // an empty one, which `|` ignores
  for (int part = 1; part < count; ++part) {
    const int* found = stats.ptr<int>(part);
    if (found[cv::CC_STAT_AREA] >= SPECK * largest) {
      box |= cv::Rect(found[cv::CC_STAT_LEFT], found[cv::CC_STAT_TOP], found[cv::CC_STAT_WIDTH],
                      found[cv::CC_STAT_HEIGHT]);
    }
  }
  return box;
}

cv::Rect with_margin(const cv::Rect& found, const Letterbox& frame) {
  const double room = MARGIN * std::max(found.width, found.height);
  const double down = static_cast<double>(frame.photo.height) / frame.inner.height;
  const double across = static_cast<double>(frame.photo.width) / frame.inner.width;
  const cv::Point from(std::max(0, static_cast<int>((found.x - room) * across)),
                       std::max(0, static_cast<int>((found.y - room) * down)));
  const auto end = [room](int last, double scale, int most) {
    return std::min(most, static_cast<int>(std::ceil((last + room) * scale)));
  };
  const cv::Point to(end(found.br().x, across, frame.photo.width),
                     end(found.br().y, down, frame.photo.height));
  return {from, to};
}

}  // namespace

std::optional<cv::Rect> closer_box(const cv::Mat1f& alpha, const Letterbox& frame) {
  const cv::Rect found = find_subject(alpha(frame.inner));
  if (found.empty()) {
    return std::nullopt;
  }
  const cv::Rect box = with_margin(found, frame);
  const double zoom = static_cast<double>(std::max(frame.photo.width, frame.photo.height)) /
                      std::max(box.width, box.height);
  return zoom < LEAST_ZOOM ? std::nullopt : std::optional<cv::Rect>(box);
}

bool contradict(const cv::Mat1f& before, const cv::Mat1f& after) {
  int flipped = 0, subject = 0;
  for (int y = 0; y < before.rows; ++y) {
    for (int x = 0; x < before.cols; ++x) {
      const float one = before(y, x), other = after(y, x);
      flipped += (one < UNSURE && other > SURE) || (one > SURE && other < UNSURE) ? 1 : 0;
      subject += one > 0.5F ? 1 : 0;
    }
  }
  return flipped > MOST_FLIPPED * std::max(1, subject);
}

}  // namespace latefusion
