#include "results.hpp"

#include <functional>
#include <map>

#include "planes.hpp"

namespace latefusion {
namespace {

cv::Mat in_levels(const cv::Mat& plane, int depth, double most) {
  cv::Mat levels;
  plane.convertTo(levels, depth, most);
  return levels;
}

cv::Mat alpha_of(const Result& result) { return faded(result.matte.alpha, result.opacity); }

cv::Mat on_background(const Result& result) {
  const auto over = [&result](const auto& background) {
    return composite(result.image, result.matte.alpha, background, result.opacity);
  };
  return std::visit(over, result.background.value());
}

const std::map<std::string, std::function<cv::Mat(const Result&)>>& kinds() {
  static const std::map<std::string, std::function<cv::Mat(const Result&)>> table = {
      {"cutout",
       [](const Result& result) {
         return cutout(result.image, result.matte.alpha, result.opacity);
       }},
      {"alpha", [](const Result& result) { return in_levels(alpha_of(result), CV_8U, 255); }},
      {"alpha16", [](const Result& result) { return in_levels(alpha_of(result), CV_16U, 65535); }},
      {"fg", [](const Result& result) { return in_levels(result.matte.fg, CV_8U, 255); }},
      {"bg", [](const Result& result) { return in_levels(result.matte.bg, CV_8U, 255); }},
      {"blend", [](const Result& result) { return in_levels(result.matte.blend, CV_8U, 255); }},
      {COMPOSITE, on_background},
  };
  return table;
}

}  // namespace

const char COMPOSITE[] = "composite";

std::vector<std::string> all_kinds() {
  std::vector<std::string> names;
  for (const auto& kind : kinds()) {
    names.push_back(kind.first);
  }
  return names;
}

cv::Mat pixels(const std::string& kind, const Result& result) { return kinds().at(kind)(result); }

}  // namespace latefusion
