// The straight colour of the subject at soft pixels, so that a cut-out carries no old background.
//
// The C++ of src/latefusion/foreground.py, which says more; change both together. A soft pixel is a
// mix, image = alpha * fg + (1 - alpha) * bg. It is undone after Germer, Uelwer, Conrad and
// Harmeling, "Fast Multi-Level Foreground Estimation" (ICPR 2020), eq. 5 and 6, at reduced size; at
// the photo's own size one step fits the mix exactly.
#include <algorithm>
#include <array>
#include <cmath>

#include <opencv2/imgproc.hpp>

#include "framing.hpp"
#include "planes.hpp"

namespace latefusion {
namespace {

constexpr double WORK_PIXELS = 256 * 256;  // colours change slowly
constexpr double WORK_SIDE = 8192;         // of a strip of a photo; cv::remap ends at 32,767
constexpr int SWEEPS = 4;
constexpr int SMALL_SWEEPS = 10, SMALL_SIDE = 32;  // on the coarsest levels they reach far
constexpr float SMOOTHNESS = 1e-5F,
                ALPHA_WEIGHT = 0.1F;  // neighbours' pull, and where alpha changes
constexpr int MARGIN = 8;  // pixels outside the subject that get its colour, for a later resize
constexpr int TILE = 256;  // the full-size step goes through the photo in tiles where it is needed

struct Colours {  // range 0 to 255, CV_32FC3
  cv::Mat3f fg, bg;
};

cv::Vec3f within_levels(const cv::Vec3f& colour) {
  const auto clip = [](float level) { return std::min(std::max(level, 0.0F), 255.0F); };
  return {clip(colour[0]), clip(colour[1]), clip(colour[2])};
}

// The neighbours above, below, left and right; at the edges the pixel itself.
std::array<cv::Point, 4> neighbours(int x, int y, cv::Size size) {
  return {cv::Point(x, std::max(y - 1, 0)), cv::Point(x, std::min(y + 1, size.height - 1)),
          cv::Point(std::max(x - 1, 0), y), cv::Point(std::min(x + 1, size.width - 1), y)};
}

// One pixel's fg and bg from its mix and its four neighbours' colours, by Cramer's rule.
void solve_pixel(const cv::Mat3b& image, const cv::Mat1f& alpha, const Colours& before, int x,
                 int y, Colours& after) {
  const float a = alpha(y, x), b = 1 - a;
  cv::Vec3f to_fg = cv::Vec3f(image(y, x)) * a, to_bg = cv::Vec3f(image(y, x)) * b;
  float pull = 0;
  for (const cv::Point& near_by : neighbours(x, y, alpha.size())) {
    const float weight = SMOOTHNESS + ALPHA_WEIGHT * std::abs(alpha(near_by) - a);
    to_fg += before.fg(near_by) * weight;
    to_bg += before.bg(near_by) * weight;
    pull += weight;
  }
  const float aa = a * a + pull, bb = b * b + pull, ab = a * b;
  const float determinant = aa * bb - ab * ab;
  after.fg(y, x) = within_levels((to_fg * bb - to_bg * ab) * (1 / determinant));
  after.bg(y, x) = within_levels((to_bg * aa - to_fg * ab) * (1 / determinant));
}

// Jacobi sweeps over the whole image: each takes all colours from the sweep before.
Colours sweep(const cv::Mat3b& image, const cv::Mat1f& alpha, Colours colours, int sweeps) {
  Colours after = {cv::Mat3f(image.size()), cv::Mat3f(image.size())};
  for (int i = 0; i < sweeps; ++i) {
    cv::parallel_for_({0, image.rows}, [&](const cv::Range& rows) {
      for (int y = rows.start; y < rows.end; ++y) {
        for (int x = 0; x < image.cols; ++x) {
          solve_pixel(image, alpha, colours, x, y, after);
        }
      }
    });
    std::swap(colours, after);
  }
  return colours;
}

int bit_length(int number) { return number == 0 ? 0 : 1 + bit_length(number / 2); }

cv::Size work_size(cv::Size photo) {
  const double pixels = static_cast<double>(photo.height) * photo.width;
  const double side = std::max(photo.height, photo.width);
  const double shrink = std::min({1.0, std::sqrt(WORK_PIXELS / pixels), WORK_SIDE / side});
  return {std::max(1, cvRound(photo.width * shrink)), std::max(1, cvRound(photo.height * shrink))};
}

// The smooth colours of subject and background at reduced size, from coarse levels to fine.
Colours solve(const cv::Mat& photo, const cv::Mat& photo_alpha) {
  const cv::Size work = work_size(photo.size());
  const cv::Mat image = resize(photo, work), alpha = resize(photo_alpha, work);
  Colours colours = {cv::Mat3f(1, 1, cv::Vec3f()), cv::Mat3f(1, 1, cv::Vec3f())};
  const int levels = bit_length(std::max(work.height, work.width));
  for (int level = 0; level <= levels; ++level) {
    const double part = static_cast<double>(level) / levels;
    const cv::Size size(cvRound(std::pow(work.width, part)), cvRound(std::pow(work.height, part)));
    const bool small = std::max(size.height, size.width) <= SMALL_SIDE;
    colours = {resize(colours.fg, size), resize(colours.bg, size)};
    colours =
        sweep(resize(image, size), resize(alpha, size), colours, small ? SMALL_SWEEPS : SWEEPS);
  }
  return colours;
}

// Where the centres of a tile's pixels lie in a row or column that is `shorter` long.
cv::Mat1f positions(int start, int end, int shorter, int longer) {
  cv::Mat1f found(1, end - start);
  const auto scale = static_cast<float>(static_cast<double>(shorter) / longer);
  for (int i = start; i < end; ++i) {
    found(0, i - start) = (static_cast<float>(i) + 0.5F) * scale - 0.5F;
  }
  return found;
}

// The tile of the reduced colours enlarged to `size`, bilinear.
cv::Mat3f enlarge(const cv::Mat3f& colours, const cv::Rect& tile, cv::Size size) {
  const cv::Mat1f x = positions(tile.x, tile.br().x, colours.cols, size.width);
  const cv::Mat1f y = positions(tile.y, tile.br().y, colours.rows, size.height);
  const cv::Mat columns = cv::repeat(x, tile.height, 1);
  const cv::Mat rows = cv::repeat(y.t(), 1, tile.width);
  cv::Mat3f enlarged;
  cv::remap(colours, enlarged, columns, rows, cv::INTER_LINEAR, cv::BORDER_REPLICATE);
  return enlarged;
}

// The colours fg moved the least, together with bg, for which the mix is the image.
cv::Mat3b fit(const cv::Mat3b& image, const cv::Mat1f& alpha, const Colours& near_by) {
  cv::Mat3b fitted(image.size());
  for (int y = 0; y < image.rows; ++y) {
    for (int x = 0; x < image.cols; ++x) {
      const float a = alpha(y, x), b = 1 - a;
      const cv::Vec3f fg = near_by.fg(y, x);
      const cv::Vec3f rest = cv::Vec3f(image(y, x)) - fg * a - near_by.bg(y, x) * b;
      fitted(y, x) = cv::Vec3b(fg + rest * (a / (a * a + b * b)));
    }
  }
  return fitted;
}

void fit_tile(const cv::Mat& image, const cv::Mat& alpha, const Colours& colours,
              const cv::Mat& wanted, const cv::Rect& tile, cv::Mat& estimate) {
  if (cv::countNonZero(wanted(tile)) == 0) {
    return;
  }
  const Colours near_by = {enlarge(colours.fg, tile, image.size()),
                           enlarge(colours.bg, tile, image.size())};
  fit(image(tile), alpha(tile), near_by).copyTo(estimate(tile), wanted(tile));
}

// Soft pixels and a margin around the subject, 255 where the estimate is needed.
cv::Mat soft(const cv::Mat& opacity) {
  const cv::Mat square = cv::Mat::ones(2 * MARGIN + 1, 2 * MARGIN + 1, CV_8U);
  cv::Mat around;
  cv::dilate(opacity > 0, around, square);
  return around & (opacity < 255);
}

}  // namespace

cv::Mat foreground(const cv::Mat& image, const cv::Mat& alpha) {
  check_pair(image, alpha);
  const cv::Mat opacity = to_levels(alpha), wanted = soft(opacity);
  cv::Mat estimate = cv::Mat::zeros(image.size(), CV_8UC3);
  image.copyTo(estimate, opacity == 255);
  if (cv::countNonZero(wanted) == 0) {
    return estimate;
  }
  const Colours colours = solve(image, alpha);
  for (int top = 0; top < image.rows; top += TILE) {
    for (int left = 0; left < image.cols; left += TILE) {
      const cv::Rect tile = cv::Rect(left, top, TILE, TILE) & cv::Rect({}, image.size());
      fit_tile(image, alpha, colours, wanted, tile, estimate);
    }
  }
  return estimate;
}

}  // namespace latefusion
