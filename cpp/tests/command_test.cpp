#include "command.hpp"

#include <algorithm>

#include "check.hpp"
#include "results.hpp"

namespace latefusion {

TEST(command, the_defaults_are_those_of_python) {
  const Command command = parse({"--model", "m.onnx", "--image", "a/me.jpg"});
  CHECK(command.options.framing == Framing::automatic);
  CHECK(command.options.refine == Refine::closed_form);
  CHECK_EQUAL(command.options.epsilon, 1 / 255.0);
  CHECK_EQUAL(command.options.size, 0);
  CHECK_EQUAL(command.file("cutout").string(), "./me-cutout.png");
}

TEST(command, options_reach_the_predictor) {
  const Command command =
      parse({"--model", "m.onnx", "--image", "me.jpg", "--framing", "whole", "--refine", "off",
             "--epsilon", "0.25", "--size", "640", "--target", "opencl"});
  CHECK(command.options.framing == Framing::whole);
  CHECK(command.options.refine == Refine::off);
  CHECK_EQUAL(command.options.epsilon, 0.25);
  CHECK_EQUAL(command.options.size, 640);
  CHECK(command.options.target == Target::opencl);
}

TEST(command, a_sheet_is_among_the_kinds) {
  Result result;
  result.image = cv::Mat(1000, 600, CV_8UC3, cv::Scalar(0, 0, 220));
  result.matte.alpha = cv::Mat1f(1000, 600, 1.0F);
  const cv::Mat alpha = pixels("alpha", result);
  CHECK_EQUAL(alpha.at<uchar>(500, 300), 255);
  const std::vector<std::string> kinds = all_kinds();
  CHECK(std::find(kinds.begin(), kinds.end(), SHEET) != kinds.end());
}

}  // namespace latefusion
