#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <vector>

#include "bytes.hpp"
#include "framing.hpp"
#include "latefusion/matting.hpp"
#include "planes.hpp"
#include "sidecar.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr char NOT_OURS[] =
    "it is not a network of latefusion, or does not match its sidecar: export again";

const std::vector<cv::String> OUTPUTS = {"alpha", "fg", "bg", "blend"};

using Reader = cv::dnn::Net (*)(const Bytes&);

// OpenCV 4.6's readNet takes no ONNX from memory; from a file it fails where the path has other
// than the system's characters.
const std::map<fs::path, Reader> READERS = {
    {".onnx", [](const Bytes& bytes) { return cv::dnn::readNetFromONNX(bytes); }},
    {".pb", [](const Bytes& bytes) { return cv::dnn::readNetFromTensorflow(bytes); }},
};

Reader reader(const fs::path& model) {
  const auto found = READERS.find(model.extension());
  if (found == READERS.end()) {
    throw Error(model.string() +
                " is not an .onnx or .pb file; create one with `latefusion export`");
  }
  return found->second;
}

cv::dnn::Net load(const fs::path& model, const Bytes& bytes) {
  try {
    return reader(model)(bytes);
  } catch (const cv::Exception& error) {
    throw Error(model.string() + " does not load (" + in_brief(error) +
                "); it is not a network of latefusion, or too new for this OpenCV: export again");
  }
}

std::string in_words(cv::Size size) {
  return std::to_string(size.height) + " x " + std::to_string(size.width) + " (H x W)";
}

// The lengths of an output without the axes of length 1, wherever they are: TensorFlow's may be
// the last ones. The size of a network is never 1.
std::vector<int> long_axes(const cv::Mat& output) {
  std::vector<int> lengths(output.size.p, output.size.p + output.dims);
  lengths.erase(std::remove(lengths.begin(), lengths.end(), 1), lengths.end());
  return lengths;
}

}  // namespace

Network::Network(const fs::path& model) : name_(model.string()) {
  reader(model);  // a wrong suffix is told before a missing file
  const Bytes bytes = read_bytes(model, "give the path of an exported .onnx or .pb file");
  const Sidecar sidecar = read_sidecar(model);
  if (static_cast<double>(bytes.size()) != sidecar.bytes) {
    throw Error(name_ +
                " is cut short, or does not match its sidecar (its size); copy both again");
  }
  input_ = sidecar.input;
  size_ = sidecar.size;
  net_ = load(model, bytes);
}

std::vector<cv::Mat> Network::forward(const cv::Mat& blob) {
  std::vector<cv::Mat> found;
  try {
    net_.setInput(blob, input_);
    net_.forward(found, OUTPUTS);  // all of them by name: OpenCV 5 throws otherwise
  } catch (const cv::Exception& error) {
    throw Error(name_ + " does not give alpha, fg, bg and blend for an image of " +
                in_words(size_) + " (" + in_brief(error) + "); " + NOT_OURS);
  }
  const std::vector<int> lengths = {size_.height, size_.width};
  for (const cv::Mat& output : found) {
    if (output.type() != CV_32F || long_axes(output) != lengths) {
      throw Error(name_ + " gives planes of another size than its image of " + in_words(size_) +
                  "; " + NOT_OURS);
    }
  }
  return found;
}

Matte Network::matte(const cv::Mat& image) {
  check_image(image, "image");
  const Letterbox frame = into(image.size(), size_);
  const cv::Mat blob = cv::dnn::blobFromImage(frame.fit(image), 1.0, {}, {}, true, false);
  const auto start = Clock::now();
  const std::vector<cv::Mat> found = forward(blob);
  const std::chrono::duration<double, std::milli> taken = Clock::now() - start;
  std::array<cv::Mat, 4> planes;
  for (size_t i = 0; i < planes.size(); ++i) {
    planes[i] = frame.restore(found[i].reshape(1, size_.height));
  }
  return {planes[0], planes[1], planes[2], planes[3], taken.count()};
}

}  // namespace latefusion
