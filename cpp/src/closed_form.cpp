#include "closed_form.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <opencv2/imgproc.hpp>

#include "framing.hpp"

namespace latefusion {
namespace {

constexpr float SOFT = 0.05F, SOLID = static_cast<float>(1 - 0.05);  // alpha between is solved for
constexpr float EVEN = 0.05F;     // alpha that varies by less in a square of EVEN_SIDE is no outline
constexpr int EVEN_SIDE = 5;
constexpr double FINEST = 2048;  // longer side in pixels at which is solved at most
constexpr int PART = 1200;       // side in pixels of the parts solved one by one
constexpr int SEAM = 32;         // pixels shared by neighbouring parts
constexpr int EDGE = 8;          // outermost pixels of a part, taken from its neighbour
constexpr float EPSILON = 3e-4F, PULL = 1e-2F;  // of a window's colour line; of the given alpha
constexpr int STEPS = 15;                       // of conjugate gradients

using Vector = std::vector<float>;  // a value for each pixel near the outline
using Nine = std::array<float, 9>;

// One window of 3 x 3 pixels: their numbers, and their colours without their mean, decorrelated.
struct Window {
  std::array<int, 9> members;
  std::array<Nine, 3> colours;
};

float dot(const Nine& one, const Nine& other) {
  float sum = 0;
  for (size_t i = 0; i < 9; ++i) {
    sum += one[i] * other[i];
  }
  return sum;
}

void centre(Nine& values) {
  float sum = 0;
  for (const float value : values) {
    sum += value;
  }
  for (float& value : values) {
    value -= sum / 9;
  }
}

// L^-1 times colour, with L the Cholesky factor of S + epsilon / 9 and S the window's covariance.
void whiten(std::array<Nine, 3>& colours) {
  for (Nine& colour : colours) {
    centre(colour);
  }
  constexpr float room = EPSILON / 9;
  auto& [first, second, third] = colours;
  const auto covariance = [](const Nine& one, const Nine& other) { return dot(one, other) / 9; };
  const float one = std::sqrt(covariance(first, first) + room);
  for (float& value : first) {
    value /= one;
  }
  const float shared = covariance(second, first);
  const float two = std::sqrt(covariance(second, second) + room - shared * shared);
  for (size_t i = 0; i < 9; ++i) {
    second[i] = (second[i] - shared * first[i]) / two;
  }
  const float on_first = covariance(third, first), on_second = covariance(third, second);
  const float three =
      std::sqrt(covariance(third, third) + room - on_first * on_first - on_second * on_second);
  for (size_t i = 0; i < 9; ++i) {
    third[i] = (third[i] - on_first * first[i] - on_second * second[i]) / three;
  }
  for (Nine& colour : colours) {
    for (float& value : colour) {
      value /= 3;
    }
  }
}

// The windows at the outline, and the pixels that are in one of them.
struct Windows {
  std::vector<cv::Point> pixels;
  std::vector<Window> windows;

  // Adds up a value that `values_of` gives for each member of a window, at each pixel.
  template <typename ValuesOf>
  Vector total(const ValuesOf& values_of) const {
    std::vector<double> sums(pixels.size(), 0.0);
    for (const Window& window : windows) {
      const Nine values = values_of(window);
      for (size_t i = 0; i < 9; ++i) {
        sums[static_cast<size_t>(window.members[i])] += static_cast<double>(values[i]);
      }
    }
    Vector found(sums.size());
    std::transform(sums.begin(), sums.end(), found.begin(),
                   [](double sum) { return static_cast<float>(sum); });
    return found;
  }

  // The matting Laplacian times a value for each pixel.
  Vector laplacian(const Vector& values) const {
    return total([&values](const Window& window) {
      Nine inside;
      for (size_t i = 0; i < 9; ++i) {
        inside[i] = values[static_cast<size_t>(window.members[i])];
      }
      centre(inside);
      Nine off = inside;
      for (const Nine& colour : window.colours) {
        const float along = dot(colour, inside);
        for (size_t i = 0; i < 9; ++i) {
          off[i] -= colour[i] * along;
        }
      }
      return off;
    });
  }

  Vector diagonal() const {
    return total([](const Window& window) {
      Nine rest;
      for (size_t i = 0; i < 9; ++i) {
        float explained = 0;
        for (const Nine& colour : window.colours) {
          explained += colour[i] * colour[i];
        }
        rest[i] = 8.0F / 9.0F - explained;
      }
      return rest;
    });
  }
};

// All windows with a free pixel.
Windows windows_of(const cv::Mat3b& image, const cv::Mat1b& free) {
  Windows found;
  if (free.rows < 3 || free.cols < 3) {
    return found;
  }
  const cv::Rect inside(1, 1, free.cols - 2, free.rows - 2);
  const cv::Mat square = cv::Mat::ones(3, 3, CV_8U);
  cv::Mat1b beside, centred(free.size(), uchar{0}), near_by;
  cv::dilate(free, beside, square);
  beside(inside).copyTo(centred(inside));
  cv::dilate(centred, near_by, square);
  cv::findNonZero(near_by, found.pixels);  // row by row
  cv::Mat1i number(free.size());
  for (size_t i = 0; i < found.pixels.size(); ++i) {
    number(found.pixels[i]) = static_cast<int>(i);
  }
  std::vector<cv::Point> centres;
  cv::findNonZero(centred, centres);
  found.windows.resize(centres.size());
  cv::parallel_for_({0, static_cast<int>(centres.size())}, [&](const cv::Range& range) {
    for (int k = range.start; k < range.end; ++k) {
      Window& window = found.windows[static_cast<size_t>(k)];
      for (int i = 0; i < 9; ++i) {
        const cv::Point place = centres[static_cast<size_t>(k)] + cv::Point(i % 3 - 1, i / 3 - 1);
        const cv::Vec3b& bgr = image(place);
        const auto member = static_cast<size_t>(i);
        window.members[member] = number(place);
        for (int channel = 0; channel < 3; ++channel) {  // red first, as in Python
          window.colours[static_cast<size_t>(channel)][member] =
              static_cast<float>(bgr[2 - channel]) / 255.0F;
        }
      }
      whiten(window.colours);
    }
  });
  return found;
}

double dot(const Vector& one, const Vector& other) {
  double sum = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    sum += static_cast<double>(one[i]) * static_cast<double>(other[i]);
  }
  return sum;
}

// Change of alpha where `moves` is 1, by conjugate gradients with Jacobi preconditioning.
Vector descend(const Windows& windows, const Vector& alpha, const Vector& moves) {
  const size_t count = alpha.size();
  Vector scale = windows.diagonal(), moved(count, 0.0F), left = windows.laplacian(alpha);
  Vector scaled(count);
  for (size_t i = 0; i < count; ++i) {
    scale[i] = 1 / (scale[i] + PULL);
    left[i] *= -moves[i];
    scaled[i] = scale[i] * left[i];
  }
  Vector way = scaled;
  double size = dot(left, scaled);
  for (int step = 0; step < STEPS && size >= 1e-12; ++step) {
    Vector ahead = windows.laplacian(way);
    for (size_t i = 0; i < count; ++i) {
      ahead[i] = moves[i] * (ahead[i] + PULL * way[i]);
    }
    const double bend = dot(way, ahead);
    if (bend <= 0) {  // by rounding, if the colours explain alpha almost fully
      break;
    }
    const auto length = static_cast<float>(size / bend);
    for (size_t i = 0; i < count; ++i) {
      moved[i] += length * way[i];
      left[i] -= length * ahead[i];
      scaled[i] = scale[i] * left[i];
    }
    const double before = size;
    size = dot(left, scaled);
    const auto kept = static_cast<float>(size / before);
    for (size_t i = 0; i < count; ++i) {
      way[i] = scaled[i] + kept * way[i];
    }
  }
  return moved;
}

// 255 where alpha is solved for: at and beside soft pixels, except in even haze.
cv::Mat free_pixels(const cv::Mat1f& alpha) {
  const cv::Mat soft = (alpha > SOFT) & (alpha < SOLID);
  const cv::Mat square = cv::Mat::ones(EVEN_SIDE, EVEN_SIDE, CV_8U);
  cv::Mat most, least, beside;
  cv::dilate(alpha, most, square);
  cv::erode(alpha, least, square);
  cv::dilate(soft, beside, cv::Mat::ones(3, 3, CV_8U));
  return beside & (most - least > EVEN);
}

// Alpha of a part, changed in place.
void solve(const cv::Mat3b& image, cv::Mat1f& alpha) {
  const cv::Mat1b free = free_pixels(alpha);
  const Windows windows = windows_of(image, free);
  Vector near_by, moves;
  for (const cv::Point& pixel : windows.pixels) {
    near_by.push_back(alpha(pixel));
    moves.push_back(free(pixel) != 0 ? 1.0F : 0.0F);
  }
  const Vector moved = descend(windows, near_by, moves);
  for (size_t i = 0; i < windows.pixels.size(); ++i) {
    alpha(windows.pixels[i]) = std::min(std::max(near_by[i] + moved[i], 0.0F), 1.0F);
  }
}

cv::Range inner(const std::pair<int, int>& cut, int length) {
  return {cut.first == 0 ? 0 : cut.first + EDGE, cut.second == length ? length : cut.second - EDGE};
}

cv::Mat1f solve_in_parts(const cv::Mat3b& image, const cv::Mat1f& alpha) {
  cv::Mat1f solved = alpha.clone();
  for (const auto& rows : cuts(alpha.rows, PART, SEAM)) {
    for (const auto& columns : cuts(alpha.cols, PART, SEAM)) {
      const cv::Range down(rows.first, rows.second), across(columns.first, columns.second);
      cv::Mat1f found = solved(down, across).clone();
      solve(image(down, across), found);
      const cv::Range kept_down = inner(rows, alpha.rows), kept_across = inner(columns, alpha.cols);
      const cv::Rect kept(kept_across.start - across.start, kept_down.start - down.start,
                          kept_across.size(), kept_down.size());
      found(kept).copyTo(solved(kept_down, kept_across));
    }
  }
  return solved;
}

}  // namespace

cv::Mat1f refine(const cv::Mat& image, const cv::Mat1f& alpha, double seen) {
  const int longer = std::max(alpha.rows, alpha.cols);
  seen = std::min(1.0, seen);
  const std::vector<double> steps = scales(seen, std::max(seen, std::min(1.0, FINEST / longer)));
  std::vector<cv::Mat> images;
  for (auto scale = steps.rbegin(); scale != steps.rend(); ++scale) {
    const cv::Size size(std::max(1, cvRound(alpha.cols * *scale)),
                        std::max(1, cvRound(alpha.rows * *scale)));
    const cv::Mat& larger = images.empty() ? image : images.back();
    images.push_back(size == larger.size() ? larger : resize(larger, size));
  }
  cv::Mat1f found = alpha;
  for (auto level = images.rbegin(); level != images.rend(); ++level) {
    const cv::Size size = level->size();
    found = solve_in_parts(*level, size == found.size() ? found : resize_plane(found, size));
  }
  return found.size() == alpha.size() ? found : cv::Mat1f(resize_plane(found, alpha.size()));
}

}  // namespace latefusion
