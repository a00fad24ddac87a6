#include "check.hpp"
#include "network.hpp"
#include "sidecar.hpp"

namespace latefusion {
namespace {

Model with(const std::string& sidecar) { return {"mine.onnx", {1, 2, 3}, sidecar, {}}; }

const std::string START = R"({"format": "latefusion/2", "target": "opencv", "bytes": 3, )";
const std::string ANY = R"("input": {"name": "image", "size": "dynamic", "side": 512})";
const std::string FIXED = R"("input": {"name": "image", "size": [384, 512]})";
const std::string FUSION = R"(, "fusion": {"reach": [4, 6], "bytes": 7})";

}  // namespace

TEST(model, a_sidecar_of_any_size_has_a_side_and_a_reach) {
  const Sidecar found = read_sidecar(with(START + ANY + FUSION + "}"));
  CHECK(found.size.empty());
  CHECK_EQUAL(found.side, 512);
  CHECK_EQUAL(found.fusion->reach.inside, 4);
  CHECK_EQUAL(found.fusion->reach.border, 6);
  CHECK_EQUAL(found.fusion->bytes, 7.0);
}

TEST(model, a_sidecar_of_one_size_has_height_before_width) {
  const Sidecar found = read_sidecar(with(START + FIXED + "}"));
  CHECK_EQUAL(found.size, cv::Size(512, 384));
  CHECK_EQUAL(found.side, 512);
  CHECK(!found.fusion);
}

TEST(model, a_damaged_sidecar_is_an_error_with_the_code_model) {
  for (const std::string& text :
       {START + ANY + "}", START + FIXED + FUSION + "}",
        START + ANY + R"(, "fusion": {"reach": [4, 5], "bytes": 7}})",
        START + ANY + R"(, "fusion": {"reach": [2, 6], "bytes": 7}})",
        START + ANY + R"(, "fusion": {"reach": [4, 6]}})", std::string("{}"), std::string("[")}) {
    CHECK(code_of([&] { read_sidecar(with(text)); }) == Code::model);
  }
}

TEST(model, bytes_that_are_no_network_are_an_error_with_the_code_model) {
  CHECK(code_of([] { Predictor(with(START + FIXED + "}")); }) == Code::model);
  CHECK(code_of([] { read_model("mine.txt"); }) == Code::model);
  CHECK(code_of([] { read_model("missing.onnx"); }) == Code::file);
}

TEST(model, options_out_of_range_are_an_error_with_the_code_argument) {
  Options options;
  options.size = 500;
  CHECK(code_of([&] { Predictor(with(START + ANY + FUSION + "}"), options); }) == Code::argument);
  options.size = 640;
  CHECK(code_of([&] { Predictor(with(START + FIXED + "}"), options); }) == Code::argument);
  options = {};
  options.epsilon = 2;
  CHECK(code_of([&] { Predictor(with(START + ANY + FUSION + "}"), options); }) == Code::argument);
}

TEST(model, a_target_that_opencv_lacks_is_an_error_with_the_code_backend) {
  Options options;
  options.target = Target::cuda;  // that of another backend
  CHECK(code_of([&] { Predictor(with(START + FIXED + "}"), options); }) == Code::backend);
}

}  // namespace latefusion
