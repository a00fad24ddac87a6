// The straight colour of the subject at soft pixels, so that a cut-out carries no old background.
//
// The C++ of src/latefusion/images/foreground.py, which says more; change both together. A soft pixel
// is a mix, image = alpha * fg + (1 - alpha) * bg. It is undone after Germer, Uelwer, Conrad and
// Harmeling, "Fast Multi-Level Foreground Estimation" (ICPR 2020), eq. 5 and 6, at reduced size; at
// the photo's own size one step fits the mix exactly.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <opencv2/imgproc.hpp>

#include "framing.hpp"
#include "planes.hpp"

namespace latefusion {
namespace {

constexpr int WORK_PIXELS = 3 * 256 * 256;  // at most: colours change slowly
constexpr int WORK_SIDE = 8192;             // of a strip of a photo; cv::remap ends at 32,767
constexpr int COARSEST = 8;                 // of the longer side at most, where the levels begin
constexpr int SWEEPS = 3;
constexpr float SMOOTHNESS = 1e-5F,
                ALPHA_WEIGHT = 0.1F;  // neighbours' pull, and where alpha changes
constexpr double PLAIN = 1 / 510.0;   // of alpha: less than this of a colour counts as none
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

// One pixel's fg and bg from its mix and its four neighbours' colours, in place: the neighbours'
// mean moves by a share of what it leaves of the mix (the formula of Sherman and Morrison).
void solve_pixel(const cv::Mat3b& image, const cv::Mat1f& alpha, int x, int y, Colours& colours) {
  const float a = alpha(y, x), b = 1 - a;
  cv::Vec3f fg, bg;
  float pull = 0;
  for (const cv::Point& near_by : neighbours(x, y, alpha.size())) {
    const float weight = SMOOTHNESS + ALPHA_WEIGHT * std::abs(alpha(near_by) - a);
    fg += colours.fg(near_by) * weight;
    bg += colours.bg(near_by) * weight;
    pull += weight;
  }
  fg *= 1 / pull;
  bg *= 1 / pull;
  const cv::Vec3f rest =
      (cv::Vec3f(image(y, x)) - fg * a - bg * b) * (1 / (a * a + b * b + pull));
  colours.fg(y, x) = within_levels(fg + rest * a);
  colours.bg(y, x) = within_levels(bg + rest * b);
}

// Gauss-Seidel sweeps, in place: first every second pixel, as on a chessboard, then the others, and
// soft pixels and those beside them only.
void sweep(const cv::Mat3b& image, const cv::Mat1f& alpha, Colours& colours) {
  cv::Mat1b near_by;
  cv::dilate((alpha > PLAIN) & (alpha < 1 - PLAIN), near_by, cv::Mat::ones(3, 3, CV_8U));
  for (int half = 0; half < 2 * SWEEPS; ++half) {
    cv::parallel_for_({0, image.rows}, [&](const cv::Range& rows) {
      for (int y = rows.start; y < rows.end; ++y) {
        for (int x = (y + half) % 2; x < image.cols; x += 2) {
          if (near_by(y, x) != 0) {
            solve_pixel(image, alpha, x, y, colours);
          }
        }
      }
    });
  }
}

struct Level {
  cv::Mat3b image;
  cv::Mat1f alpha;
};

Level halved(const Level& level) {
  const cv::Size half((level.alpha.cols + 1) / 2, (level.alpha.rows + 1) / 2);
  return {resize(level.image, half), resize(level.alpha, half)};
}

bool too_large(cv::Size size) {
  return static_cast<double>(size.height) * size.width > WORK_PIXELS ||
         std::max(size.height, size.width) > WORK_SIDE;
}

// A level, halved until it can be solved, and its halves, the coarsest first.
std::vector<Level> levels_of(Level level) {
  while (too_large(level.alpha.size())) {
    level = halved(level);
  }
  std::vector<Level> levels = {level};
  while (std::max(level.alpha.rows, level.alpha.cols) > COARSEST) {
    level = halved(level);
    levels.push_back(level);
  }
  std::reverse(levels.begin(), levels.end());
  return levels;
}

// The smooth colours of subject and background at reduced size, from coarse levels to fine.
Colours solve(const cv::Mat& image, const cv::Mat& alpha) {
  const std::vector<Level> levels = levels_of({image, alpha});
  Colours colours;
  levels[0].image.convertTo(colours.fg, CV_32F);
  colours.bg = colours.fg;
  for (const Level& level : levels) {
    Colours finer;
    cv::resize(colours.fg, finer.fg, level.alpha.size());
    cv::resize(colours.bg, finer.bg, level.alpha.size());
    colours = finer;
    sweep(level.image, level.alpha, colours);
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
