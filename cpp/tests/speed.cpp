// latefusion-speed PHOTO ROUNDS MODEL...: milliseconds of each network for one look at a photo, in
// turns: the first, and the median of the others. benchmarks/cpp.py reads this.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <opencv2/imgcodecs.hpp>

#include "latefusion/matting.hpp"

int main(int count, char** words) try {
  if (count < 4) {
    std::fputs("usage: latefusion-speed PHOTO ROUNDS MODEL...\n", stderr);
    return 2;
  }
  const cv::Mat image = cv::imread(words[1]);
  latefusion::Options options;
  options.framing = latefusion::Framing::whole;
  options.refine = latefusion::Refine::off;
  std::vector<latefusion::Predictor> predictors;
  for (int i = 3; i < count; ++i) {
    predictors.emplace_back(std::filesystem::path(words[i]), options);
  }
  std::vector<std::vector<double>> taken(predictors.size());
  for (int round = 0; round < std::stoi(words[2]); ++round) {
    for (size_t i = 0; i < predictors.size(); ++i) {
      taken[i].push_back(predictors[i].matte(image).milliseconds);
    }
  }
  for (std::vector<double>& times : taken) {
    const double first = times.front();
    std::sort(times.begin() + 1, times.end());
    std::printf("%.1f %.1f\n", first, times[(times.size() + 1) / 2]);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
