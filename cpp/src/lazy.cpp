#include "lazy.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace latefusion {
namespace {

constexpr std::array<int, 4> TILES = {32, 64, 128, 256};  // sides in pixels

int tiles_of(int length, int tile) { return (length + tile - 1) / tile; }

// Which tiles hold a pixel in doubt, 255 for each; the last ones of a row or column may be smaller.
cv::Mat1b in_doubt(const cv::Mat1f& doubt, int tile, float epsilon) {
  cv::Mat1b found(tiles_of(doubt.rows, tile), tiles_of(doubt.cols, tile), uchar{0});
  for (int y = 0; y < doubt.rows; ++y) {
    const float* row = doubt[y];
    uchar* marks = found[y / tile];
    for (int x = 0; x < doubt.cols; ++x) {
      if (row[x] >= epsilon) {
        marks[x / tile] = 255;
      }
    }
  }
  return found;
}

// The pixels that the fusion network computes for tiles of this side.
std::int64_t cost(const cv::Mat1b& doubtful, int tile, int reach, cv::Size size) {
  return static_cast<std::int64_t>(cv::countNonZero(doubtful)) *
         std::min(tile + 2 * reach, size.width) * std::min(tile + 2 * reach, size.height);
}

// The tile with `reach` pixels around it, shifted into the image; of one size for all tiles.
cv::Rect part_of(const cv::Rect& tile, int reach, int side, cv::Size size) {
  const int width = std::min(side + 2 * reach, size.width);
  const int height = std::min(side + 2 * reach, size.height);
  return {std::min(std::max(0, tile.x - reach), size.width - width),
          std::min(std::max(0, tile.y - reach), size.height - height), width, height};
}

bool touches(const cv::Rect& part, cv::Size size) {
  return part.x == 0 || part.y == 0 || part.br().x == size.width || part.br().y == size.height;
}

}  // namespace

cv::Mat1f fused(const cv::Mat1f& fg, const cv::Mat1f& bg, const cv::Mat1f& blend) {
  cv::Mat1f alpha(fg.size());
  for (int y = 0; y < fg.rows; ++y) {
    for (int x = 0; x < fg.cols; ++x) {
      const float beta = blend(y, x);
      alpha(y, x) = beta * fg(y, x) + (1 - beta) * (1 - bg(y, x));
    }
  }
  return alpha;
}

Planes fuse_lazily(const cv::Mat1f& fg, const cv::Mat1f& bg, const Fusion& fusion, Reach reach,
                   double epsilon) {
  cv::Mat1f doubt(fg.size());
  std::transform(fg.begin(), fg.end(), bg.begin(), doubt.begin(),
                 [](float one, float other) { return std::abs(one + other - 1); });
  int tile = 0;
  cv::Mat1b doubtful;
  for (const int side : TILES) {
    const cv::Mat1b found = in_doubt(doubt, side, static_cast<float>(epsilon));
    if (tile == 0 || cost(found, side, reach.inside, fg.size()) <
                         cost(doubtful, tile, reach.inside, fg.size())) {
      tile = side;
      doubtful = found;
    }
  }
  cv::Mat1f blend(fg.size(), 0.5F);
  for (int y = 0; y < doubtful.rows; ++y) {
    for (int x = 0; x < doubtful.cols; ++x) {
      if (doubtful(y, x) == 0) {
        continue;
      }
      const cv::Rect place =
          cv::Rect(x * tile, y * tile, tile, tile) & cv::Rect(cv::Point(), fg.size());
      cv::Rect part = part_of(place, reach.inside, tile, fg.size());
      const bool at_border = touches(part, fg.size());
      if (at_border) {
        part = part_of(place, reach.border, tile, fg.size());
      }
      fusion(part, at_border)(place - part.tl()).copyTo(blend(place));
    }
  }
  const double share = static_cast<double>(cv::countNonZero(doubtful)) /
                       static_cast<double>(doubtful.total());
  return {fused(fg, bg, blend), fg, bg, blend, share};
}

}  // namespace latefusion
