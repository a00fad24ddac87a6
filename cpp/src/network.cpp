#include "network.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <vector>

#include "bytes.hpp"
#include "sha256.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Names = std::vector<cv::String>;

constexpr char NOT_OURS[] =
    "it is not a network of latefusion, or does not match its sidecar: export again";
constexpr int LEAST_SIDE = 64;  // see `least_side`

const Names OUTPUTS = {"alpha", "fg", "bg", "blend"};
const Names BRANCHES = {"fg", "bg", "features"};  // outputs of the first file of two
const Names BLENDS = {"blend", "border_blend"};   // of the second, for parts inside and at the border
constexpr char FEATURES[] = "features", BORDER_FEATURES[] = "border_features";  // its inputs

using Reader = cv::dnn::Net (*)(const fs::path& file, const Bytes&);

// Both from memory, for from a file OpenCV fails where the path has other than the system's
// characters. OpenCV 4.6's readNet takes no ONNX from memory.
cv::dnn::Net read_onnx(const fs::path& file, const Bytes& bytes) {
  const std::string key = "location";  // of a part that lies in another file, which OpenCV would read
  if (std::search(bytes.begin(), bytes.end(), key.begin(), key.end()) != bytes.end()) {
    throw Error(Code::model,
                file.string() + " has parts in other files, which are not read; export again");
  }
  return cv::dnn::readNetFromONNX(bytes);
}

cv::dnn::Net read_pb(const fs::path&, const Bytes& bytes) {
  return cv::dnn::readNetFromTensorflow(bytes);
}

void check_suffix(const fs::path& model) {
  if (model.extension() != ".onnx" && model.extension() != ".pb") {
    throw Error(Code::model, model.string() +
                                 " is not an .onnx or .pb file; create one with `latefusion export`");
  }
}

fs::path fusion_file(const fs::path& model) {
  return fs::path(model).replace_extension(".fusion.onnx");
}

struct Place {
  cv::dnn::Backend backend;
  cv::dnn::Target target;
};

const std::map<Backend, cv::dnn::Backend> BACKENDS = {
    {Backend::opencv, cv::dnn::DNN_BACKEND_OPENCV},
    {Backend::openvino, cv::dnn::DNN_BACKEND_INFERENCE_ENGINE},
    {Backend::cuda, cv::dnn::DNN_BACKEND_CUDA},
};

const std::map<Target, cv::dnn::Target> TARGETS = {
    {Target::cpu, cv::dnn::DNN_TARGET_CPU},
    {Target::opencl, cv::dnn::DNN_TARGET_OPENCL},
    {Target::opencl_fp16, cv::dnn::DNN_TARGET_OPENCL_FP16},
    {Target::cuda, cv::dnn::DNN_TARGET_CUDA},
    {Target::cuda_fp16, cv::dnn::DNN_TARGET_CUDA_FP16},
};

// Without this OpenCV would take its own backend on the processor in silence.
Place place_of(const Options& options) {
  const Place place = {BACKENDS.at(options.backend), TARGETS.at(options.target)};
  const std::vector<cv::dnn::Target> available = cv::dnn::getAvailableTargets(place.backend);
  if (std::find(available.begin(), available.end(), place.target) == available.end()) {
    throw Error(Code::backend,
                "this build of OpenCV has no such backend with this target; use Backend::opencv "
                "with Target::cpu");
  }
  return place;
}

cv::dnn::Net load(const fs::path& file, const Bytes& bytes, Reader read, const Place& place) {
  try {
    cv::dnn::Net net = read(file, bytes);
    net.setPreferableBackend(place.backend);
    net.setPreferableTarget(place.target);
    return net;
  } catch (const cv::Exception& error) {
    throw Error(Code::model,
                file.string() + " does not load (" + in_brief(error) +
                    "); it is not a network of latefusion, or too new for this OpenCV: export again");
  }
}

void check_sum(const fs::path& file, const Bytes& bytes, const std::string& expected) {
  if (sha256(bytes) != expected) {
    throw Error(Code::model, file.string() + " is damaged, or does not match its sidecar (sha256); "
                                             "copy both again");
  }
}

int side_of(const Sidecar& sidecar, int asked, const std::string& name) {
  if (asked == 0 || asked == sidecar.side) {
    return sidecar.side;
  }
  if (!sidecar.size.empty()) {
    throw Error(Code::argument, name + " takes one size only, not a longer side of " +
                                    std::to_string(asked) + "; leave out the size");
  }
  if (asked < MULTIPLE || asked > LARGEST || asked % MULTIPLE != 0) {
    throw Error(Code::argument, "size " + std::to_string(asked) +
                                    " is not a multiple of 32 up to 2048; use e.g. 512");
  }
  return asked;
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

cv::Size size_of(const cv::Mat& blob) { return {blob.size[3], blob.size[2]}; }

// The outputs for inputs by name. All are named, for OpenCV 5 throws otherwise.
std::vector<cv::Mat> forward(cv::dnn::Net& net, const std::map<cv::String, cv::Mat>& inputs,
                             const Names& outputs) {
  std::vector<cv::Mat> found;
  for (const auto& [name, blob] : inputs) {
    net.setInput(blob, name);
  }
  net.forward(found, outputs);
  return found;
}

cv::Mat1f plane_of(const cv::Mat& output, cv::Size size, const std::string& name) {
  if (output.type() != CV_32F || long_axes(output) != std::vector<int>{size.height, size.width}) {
    throw Error(Code::model, name + " gives planes of another size than its image of " +
                                 in_words(size) + "; " + NOT_OURS);
  }
  return output.reshape(1, size.height).clone();  // the net writes into its outputs again
}

// The features of a part: at half the resolution, with a border of one pixel.
cv::Mat crop(const cv::Mat& features, const cv::Rect& part) {
  const std::vector<cv::Range> ranges = {
      cv::Range::all(), cv::Range::all(), {part.y / 2, part.br().y / 2 + 2},
      {part.x / 2, part.br().x / 2 + 2}};
  return features(ranges).clone();
}

// OpenCV 4.7 to 4.14 compute depthwise convolutions of maps that are one pixel high incorrectly.
int least_side() {
  const bool wrong = CV_VERSION_MAJOR == 4 && CV_VERSION_MINOR > 6;
  return wrong ? LEAST_SIDE : MULTIPLE;
}

}  // namespace

Model read_model(const fs::path& file) {
  check_suffix(file);
  Model model;
  model.name = file.string();
  model.network = read_bytes(file, "give the path of an exported .onnx or .pb file");
  const fs::path sidecar = fs::path(file).replace_extension(".json");
  const Bytes text = read_bytes(sidecar, "an exported file needs its sidecar beside it");
  model.sidecar.assign(text.begin(), text.end());
  if (read_sidecar(model).fusion) {
    model.fusion = read_bytes(fusion_file(file), "it is the second half of the network");
  }
  return model;
}

Network::Network(const Model& model, const Options& options)
    : name_(model.name), sidecar_(read_sidecar(model)), epsilon_(options.epsilon) {
  if (!(epsilon_ >= 0 && epsilon_ <= 1)) {
    throw Error(Code::argument, "epsilon is not a number from 0 to 1; leave it out");
  }
  side_ = side_of(sidecar_, options.size, name_);
  const Place place = place_of(options);
  check_sum(name_, model.network, sidecar_.sha256);
  net_ = load(name_, model.network, sidecar_.target == "tensorflow" ? read_pb : read_onnx, place);
  if (sidecar_.fusion) {
    const fs::path fusion = fusion_file(name_);
    check_sum(fusion, model.fusion, sidecar_.fusion->sha256);
    // Twice, so that none is set up anew for the other's size.
    inside_ = load(fusion, model.fusion, read_onnx, place);
    border_ = load(fusion, model.fusion, read_onnx, place);
  }
}

Letterbox Network::frame(cv::Size photo) const {
  if (!sidecar_.size.empty()) {
    return into(photo, sidecar_.size);
  }
  const Letterbox found = letterbox(photo, side_);
  const int least = least_side();
  if (found.outer.width >= least && found.outer.height >= least) {
    return found;
  }
  const cv::Size outer(std::max(least, found.outer.width), std::max(least, found.outer.height));
  return placed(photo, found.inner.size(), outer);
}

Planes Network::run(const cv::Mat& input, double& milliseconds) {
  const cv::Mat blob = cv::dnn::blobFromImage(input, 1.0, {}, {}, true, false);
  const auto start = Clock::now();
  try {
    const Planes found = sidecar_.fusion ? in_halves(blob) : whole(blob);
    milliseconds += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    return found;
  } catch (const cv::Exception& error) {
    if (is_of_memory(error)) {
      throw;
    }
    throw Error(Code::model, name_ + " does not give " +
                                 (sidecar_.fusion ? "fg, bg and features" : "alpha, fg, bg and blend") +
                                 " for an image of " + in_words(size_of(blob)) + " (" +
                                 in_brief(error) + "); " + NOT_OURS);
  }
}

Planes Network::whole(const cv::Mat& blob) {
  const std::vector<cv::Mat> found = forward(net_, {{sidecar_.input, blob}}, OUTPUTS);
  const auto plane = [&](size_t i) { return plane_of(found[i], size_of(blob), name_); };
  return {plane(0), plane(1), plane(2), plane(3), 1.0};
}

Planes Network::in_halves(const cv::Mat& blob) {
  const std::vector<cv::Mat> found = forward(net_, {{sidecar_.input, blob}}, BRANCHES);
  const cv::Size size = size_of(blob);
  const cv::Mat& features = found[2];
  if (features.dims != 4 || features.size[2] != size.height / 2 + 2 ||
      features.size[3] != size.width / 2 + 2) {
    throw Error(Code::model, name_ + " gives features of another size than its image of " +
                                 in_words(size) + "; " + NOT_OURS);
  }
  const cv::Mat nothing(std::vector<int>{1, features.size[1], 4, 4}, CV_32F, cv::Scalar(0));
  const auto fusion = [&](const cv::Rect& part, bool at_border) {
    const cv::Mat given = crop(features, part);
    cv::dnn::Net& net = at_border ? border_ : inside_;
    const std::map<cv::String, cv::Mat> inputs = {
        {FEATURES, at_border ? nothing : given}, {BORDER_FEATURES, at_border ? given : nothing}};
    return plane_of(forward(net, inputs, BLENDS)[at_border ? 1 : 0], part.size(), name_);
  };
  return fuse_lazily(plane_of(found[0], size, name_), plane_of(found[1], size, name_), fusion,
                     sidecar_.fusion->reach, epsilon_);
}

}  // namespace latefusion
