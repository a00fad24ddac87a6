#include "check.hpp"
#include "network.hpp"
#include "sha256.hpp"
#include "sidecar.hpp"

namespace latefusion {
namespace {

// A model whose sidecar has the right sum in place of SUM.
Model with(std::string sidecar, const Bytes& network = {1, 2, 3}) {
  const size_t place = sidecar.find("SUM");
  if (place != std::string::npos) {
    sidecar.replace(place, 3, sha256(network));
  }
  return {"mine.onnx", network, sidecar, {}};
}

std::string complaint(const Model& model) {
  try {
    Predictor predictor(model);
  } catch (const Error& error) {
    return error.code() == Code::model ? error.what() : "another code";
  }
  return "none";
}

const std::string START = R"({"format": "latefusion/2", "target": "opencv", "sha256": "SUM", )";
const std::string ANY = R"("input": {"name": "image", "size": "dynamic", "side": 512})";
const std::string FIXED = R"("input": {"name": "image", "size": [384, 512]})";
const std::string FUSION = R"(, "fusion": {"reach": [4, 6], "sha256": "7a"})";

}  // namespace

TEST(model, a_sidecar_of_any_size_has_a_side_and_a_reach) {
  const Sidecar found = read_sidecar(with(START + ANY + FUSION + "}"));
  CHECK(found.size.empty());
  CHECK_EQUAL(found.side, 512);
  CHECK_EQUAL(found.fusion->reach.inside, 4);
  CHECK_EQUAL(found.fusion->reach.border, 6);
  CHECK_EQUAL(found.fusion->sha256, "7a");
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
        START + ANY + R"(, "fusion": {"reach": [4, 5], "sha256": "7a"}})",
        START + ANY + R"(, "fusion": {"reach": [2, 6], "sha256": "7a"}})",
        START + ANY + R"(, "fusion": {"reach": [4, 6]}})", std::string("{}"), std::string("[")}) {
    CHECK(code_of([&] { read_sidecar(with(text)); }) == Code::model);
  }
}

TEST(model, a_sidecar_of_lists_in_lists_is_refused_and_does_not_end_the_program) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) {
    deep += "{\"a\":";
  }
  CHECK_EQUAL(complaint(with(deep)), "mine.json has too many lists in lists; export again");
  const std::string brackets = START + R"("terms": "\"[[[[[[[[[[[[[[[[[[[[[[[[[[[", )" + FIXED + "}";
  CHECK_EQUAL(complaint(with(brackets)).find("mine.onnx does not load"), 0u);
}

TEST(model, bytes_of_another_file_are_refused) {
  Model model = with(START + FIXED + "}");
  CHECK_EQUAL(complaint(model).find("mine.onnx does not load"), 0u);
  model.network = {1, 2, 4};
  CHECK_EQUAL(complaint(model).find("mine.onnx is damaged, or does not match its sidecar"), 0u);
}

TEST(model, a_network_with_parts_in_other_files_is_refused) {
  const std::string text = "data location /etc/weights";
  const Model model = with(START + FIXED + "}", {text.begin(), text.end()});
  CHECK_EQUAL(complaint(model).find("mine.onnx has parts in other files"), 0u);
}

TEST(model, the_name_of_a_model_in_memory_is_free) {
  Model model = with(START + FIXED + "}");
  model.name = "mine";
  CHECK_EQUAL(complaint(model).find("mine does not load"), 0u);
}

TEST(model, a_sum_is_that_of_fips_180_4) {
  const auto sum = [](const std::string& text) { return sha256({text.begin(), text.end()}); };
  CHECK_EQUAL(sum(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQUAL(sum("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQUAL(sum("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQUAL(sum(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
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
