#include "framing.hpp"

#include <algorithm>
#include <cmath>

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

int next_multiple(int length) { return (length + MULTIPLE - 1) / MULTIPLE * MULTIPLE; }

int longer(cv::Size size) { return std::max(size.width, size.height); }

cv::Rect centred(cv::Size inner, cv::Size outer) {
  return {{(outer.width - inner.width) / 2, (outer.height - inner.height) / 2}, inner};
}

}  // namespace

double Letterbox::scale() const {
  return static_cast<double>(longer(inner.size())) / longer(photo);
}

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
  return resize_plane(plane(inner), photo);
}

Letterbox letterbox(cv::Size photo, int side) {
  const double scale = static_cast<double>(side) / longer(photo);
  const cv::Size inner(scaled(photo.width, scale, side), scaled(photo.height, scale, side));
  return placed(photo, inner, {next_multiple(inner.width), next_multiple(inner.height)});
}

Letterbox placed(cv::Size photo, cv::Size inner, cv::Size outer) {
  return {photo, centred(inner, outer), outer};
}

Letterbox into(cv::Size photo, cv::Size outer) {
  const double scale = std::min(static_cast<double>(outer.height) / photo.height,
                                static_cast<double>(outer.width) / photo.width);
  const cv::Size inner(scaled(photo.width, scale, outer.width),
                       scaled(photo.height, scale, outer.height));
  return placed(photo, inner, outer);
}

std::vector<double> scales(double seen, double last) {
  const double gain = std::max(1.0, last / seen);
  const int passes = std::max(1, static_cast<int>(std::ceil(std::log2(gain) - 1e-6)));
  std::vector<double> found;
  for (int step = 1; step <= passes; ++step) {
    found.push_back(last * std::pow(gain, static_cast<double>(step) / passes - 1));
  }
  return found;
}

std::vector<std::pair<int, int>> cuts(int length, int longest, int shared) {
  const auto over = [](int part, int whole) { return (part + whole - 1) / whole; };
  const int count = std::max(1, over(length - shared, longest - shared));
  const int side = std::min(length, over(length + (count - 1) * shared, count));
  std::vector<std::pair<int, int>> found;
  for (int i = 0; i < count; ++i) {
    const int start = cvRound(static_cast<double>(i) * (length - side) / std::max(1, count - 1));
    found.emplace_back(start, start + side);
  }
  return found;
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

cv::Mat resize_plane(const cv::Mat& plane, cv::Size size) { return clip(resize(plane, size), 1); }

}  // namespace latefusion
