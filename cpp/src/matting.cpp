// What can be made of a photo and its alpha, as src/latefusion/inference/matte.py does it.
#include "latefusion/matting.hpp"

#include "framing.hpp"
#include "lazy.hpp"
#include "planes.hpp"

namespace latefusion {
namespace {

// `behind` is the background at the image's size, or one pixel of it where it is one colour.
cv::Mat over(const cv::Mat& image, const cv::Mat& share, const cv::Mat& behind,
             const cv::Mat& opacity) {
  const cv::Mat alpha = faded(share, opacity);
  cv::Mat composite = foreground(image, mixed(share, opacity));
  const bool plain = behind.total() == 1;
  for (int y = 0; y < composite.rows; ++y) {
    auto* pixels = composite.ptr<cv::Vec3b>(y);
    const auto* a = alpha.ptr<float>(y);
    const auto* below = behind.ptr<cv::Vec3b>(plain ? 0 : y);
    for (int x = 0; x < composite.cols; ++x) {
      const cv::Vec3f both =
          cv::Vec3f(pixels[x]) * a[x] + cv::Vec3f(below[plain ? 0 : x]) * (1 - a[x]);
      pixels[x] = cv::Vec3b(both);
    }
  }
  return composite;
}

}  // namespace

cv::Mat blend(const cv::Mat& fg, const cv::Mat& bg, const cv::Mat& beta) {
  if (fg.empty() || !is_plane(fg, fg.size()) || !is_plane(bg, fg.size()) ||
      !is_plane(beta, fg.size())) {
    throw Error(Code::argument,
                "fg, bg and beta are not planes of one size; give each as cv::Mat of type CV_32F");
  }
  return fused(fg, bg, beta);
}

cv::Mat cutout(const cv::Mat& image, const cv::Mat& alpha, const cv::Mat& opacity) {
  check_pair(image, alpha);
  const cv::Mat levels = to_levels(faded(alpha, opacity));
  const std::vector<cv::Mat> parts = {foreground(image, mixed(alpha, opacity)), levels};
  cv::Mat bgra;
  cv::merge(parts, bgra);
  return bgra;
}

cv::Mat composite(const cv::Mat& image, const cv::Mat& alpha, const cv::Vec3b& colour,
                  const cv::Mat& opacity) {
  check_pair(image, alpha);
  return over(image, alpha, cv::Mat(1, 1, CV_8UC3, cv::Scalar(colour)), opacity);
}

cv::Mat composite(const cv::Mat& image, const cv::Mat& alpha, const cv::Mat& background,
                  const cv::Mat& opacity) {
  check_image(background, "background");
  check_pair(image, alpha);
  return over(image, alpha, cover(background, image.size()), opacity);
}

}  // namespace latefusion
