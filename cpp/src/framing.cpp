#include "framing.hpp"

#include <algorithm>
#include <vector>

#include <opencv2/imgproc.hpp>

namespace latefusion {
namespace {

// cvRound takes halves to even, as Python's round does.
int scaled(int length, double scale, int most) {
  return std::min(most, std::max(1, cvRound(length * scale)));
}

cv::Mat clip(const cv::Mat& plane, double most) {
  return cv::max(0.0, cv::min(most, plane));  // bicubic interpolation overshoots
}

cv::Rect centred(cv::Size inner, cv::Size outer) {
  return {{(outer.width - inner.width) / 2, (outer.height - inner.height) / 2}, inner};
}

}  // namespace

cv::Mat Letterbox::fit(const cv::Mat& image) const {
  std::vector<cv::Mat> levels(3);
  for (int i = 0; i < 3; ++i) {
    // Colour by colour, for a huge photo would fill the memory in single precision.
    cv::Mat level;
    cv::extractChannel(image, level, i);
    level.convertTo(level, CV_32F);
    levels[static_cast<size_t>(i)] = clip(resize(level, inner.size()), 255);
  }
  cv::Mat resized, padded;
  cv::merge(levels, resized);
  cv::copyMakeBorder(resized, padded, inner.y, outer.height - inner.br().y, inner.x,
                     outer.width - inner.br().x, cv::BORDER_REPLICATE);
  return padded;
}

cv::Mat Letterbox::restore(const cv::Mat& plane) const {
  return clip(resize(plane(inner), photo), 1);
}

Letterbox into(cv::Size photo, cv::Size outer) {
  const double scale = std::min(static_cast<double>(outer.height) / photo.height,
                                static_cast<double>(outer.width) / photo.width);
  const cv::Size inner(scaled(photo.width, scale, outer.width),
                       scaled(photo.height, scale, outer.height));
  return {photo, centred(inner, outer), outer};
}

cv::Mat cover(const cv::Mat& image, cv::Size size) {
  const double scale = std::max(static_cast<double>(size.height) / image.rows,
                                static_cast<double>(size.width) / image.cols);
  const cv::Size crop(std::min(image.cols, std::max(1, cvRound(size.width / scale))),
                      std::min(image.rows, std::max(1, cvRound(size.height / scale))));
  return resize(image(centred(crop, image.size())).clone(), size);
}

cv::Mat resize(const cv::Mat& pixels, cv::Size size) {
  const bool shrinks = static_cast<double>(size.height) * size.width <
                       static_cast<double>(pixels.rows) * pixels.cols;
  cv::Mat resized;
  cv::resize(pixels, resized, size, 0, 0, shrinks ? cv::INTER_AREA : cv::INTER_CUBIC);
  return resized;
}

}  // namespace latefusion
