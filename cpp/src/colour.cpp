#include "colour.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>

namespace latefusion {
namespace {

// Those of CSS that people ask for, with its levels (`green` is a dark one there).
const std::map<std::string, std::string> NAMES = {
    {"black", "#000000"},   {"blue", "#0000ff"},   {"brown", "#a52a2a"},  {"cyan", "#00ffff"},
    {"gray", "#808080"},    {"green", "#008000"},  {"grey", "#808080"},   {"lime", "#00ff00"},
    {"magenta", "#ff00ff"}, {"navy", "#000080"},   {"orange", "#ffa500"}, {"pink", "#ffc0cb"},
    {"purple", "#800080"},  {"red", "#ff0000"},    {"silver", "#c0c0c0"}, {"teal", "#008080"},
    {"white", "#ffffff"},   {"yellow", "#ffff00"},
};

cv::Vec3b bgr(int r, int g, int b) {
  return {static_cast<unsigned char>(b), static_cast<unsigned char>(g),
          static_cast<unsigned char>(r)};
}

std::optional<cv::Vec3b> hexadecimal(const std::string& text) {
  if (text.size() != 7 || text[0] != '#' ||
      text.find_first_not_of("0123456789abcdef", 1) != std::string::npos) {
    return std::nullopt;
  }
  const int rgb = std::stoi(text.substr(1), nullptr, 16);
  return bgr(rgb >> 16, rgb >> 8 & 255, rgb & 255);
}

std::optional<cv::Vec3b> decimal(const std::string& text) {
  const auto is_level = [](int number) { return number >= 0 && number <= 255; };
  int r = -1, g = -1, b = -1, used = -1;
  std::sscanf(text.c_str(), "%3d ,%3d ,%3d%n", &r, &g, &b, &used);
  if (used != static_cast<int>(text.size()) || !is_level(r) || !is_level(g) || !is_level(b)) {
    return std::nullopt;
  }
  return bgr(r, g, b);
}

}  // namespace

std::optional<cv::Vec3b> colour(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const auto named = NAMES.find(lower);
  const std::string code = named == NAMES.end() ? lower : named->second;
  const auto found = hexadecimal(code);
  return found ? found : decimal(code);
}

}  // namespace latefusion
