#include "results.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include <opencv2/imgproc.hpp>

#include "framing.hpp"
#include "planes.hpp"

namespace latefusion {
namespace {

cv::Mat alpha_of(const Result& result) { return faded(result.matte.alpha, result.opacity); }

cv::Mat in_16_bits(const cv::Mat& plane) {
  cv::Mat levels;
  plane.convertTo(levels, CV_16U, 65535);
  return levels;
}

const Background SHOWN_ON = cv::Vec3b(64, 177, 0);  // BGR: a green that few subjects wear

cv::Mat on_background(const Result& result) {
  const auto over = [&result](const auto& background) {
    return composite(result.image, result.matte.alpha, background, result.opacity);
  };
  return std::visit(over, result.background.value_or(SHOWN_ON));
}

constexpr int PANEL = 480;  // longest side in pixels of a picture on the sheet
constexpr int GAP = 8, LINE = 28;  // between pictures; height of a name

// A picture with its name below.
cv::Mat panel(const std::string& name, const cv::Mat& pixels) {
  const double scale = std::min(1.0, static_cast<double>(PANEL) / std::max(pixels.rows, pixels.cols));
  const cv::Size size(std::max(1, cvRound(pixels.cols * scale)),
                      std::max(1, cvRound(pixels.rows * scale)));
  cv::Mat colours = pixels;
  if (pixels.channels() == 1) {
    cv::cvtColor(pixels, colours, cv::COLOR_GRAY2BGR);
  }
  const cv::Mat small = resize(colours, size);
  cv::Mat found(size.height + LINE, std::max(size.width, 3 * LINE), CV_8UC3, cv::Scalar::all(255));
  small.copyTo(found({cv::Point(), size}));
  cv::putText(found, name, {2, size.height + LINE - 9}, cv::FONT_HERSHEY_SIMPLEX, 0.6,
              cv::Scalar::all(0), 1, cv::LINE_AA);
  return found;
}

// Photo, fg, bg, blend, alpha and composite, in two rows.
cv::Mat on_sheet(const Result& result) {
  const std::vector<cv::Mat> panels = {
      panel("photo", result.image),
      panel("fg", to_levels(result.matte.fg())),
      panel("bg", to_levels(result.matte.bg())),
      panel("blend", to_levels(result.matte.blend())),
      panel("alpha", to_levels(alpha_of(result))),
      panel("composite", on_background(result)),
  };
  const cv::Size step = panels[0].size() + cv::Size(GAP, GAP);
  cv::Mat sheet(2 * step.height + GAP, 3 * step.width + GAP, CV_8UC3, cv::Scalar::all(255));
  for (int i = 0; i < 6; ++i) {
    const cv::Point corner(GAP + i % 3 * step.width, GAP + i / 3 * step.height);
    panels[static_cast<size_t>(i)].copyTo(sheet({corner, panels[0].size()}));
  }
  return sheet;
}

const std::map<std::string, std::function<cv::Mat(const Result&)>>& kinds() {
  static const std::map<std::string, std::function<cv::Mat(const Result&)>> table = {
      {"cutout",
       [](const Result& result) {
         return cutout(result.image, result.matte.alpha, result.opacity);
       }},
      {"alpha", [](const Result& result) { return to_levels(alpha_of(result)); }},
      {"alpha16", [](const Result& result) { return in_16_bits(alpha_of(result)); }},
      {"fg", [](const Result& result) { return to_levels(result.matte.fg()); }},
      {"bg", [](const Result& result) { return to_levels(result.matte.bg()); }},
      {"blend", [](const Result& result) { return to_levels(result.matte.blend()); }},
      {COMPOSITE, on_background},
      {SHEET, on_sheet},
  };
  return table;
}

}  // namespace

const char COMPOSITE[] = "composite";
const char SHEET[] = "sheet";

std::vector<std::string> all_kinds() {
  std::vector<std::string> names;
  for (const auto& kind : kinds()) {
    names.push_back(kind.first);
  }
  return names;
}

cv::Mat pixels(const std::string& kind, const Result& result) { return kinds().at(kind)(result); }

}  // namespace latefusion
