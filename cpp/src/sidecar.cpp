#include "sidecar.hpp"

#include "bytes.hpp"
#include "latefusion/matting.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;

constexpr char FORMAT[] = "latefusion/2";
constexpr int MULTIPLE = 32;   // the encoder halves its input five times
constexpr int LARGEST = 2048;  // longer sides need more than 10 GB in the fusion network

// An entry that has to be there; a FileNode of another type would convert to an odd value instead.
cv::FileNode entry(const cv::FileNode& map, const char* key,
                   bool (cv::FileNode::*is_right)() const) {
  const cv::FileNode found = map.isMap() ? map[key] : cv::FileNode();
  if (!(found.*is_right)()) {
    throw Error(std::string("without a right \"") + key + "\"");
  }
  return found;
}

int length(const cv::FileNode& given) {
  const int found = given.isInt() ? static_cast<int>(given) : 0;
  if (found < 1 || found > LARGEST || found % MULTIPLE != 0) {
    throw Error("its size is not in multiples of 32 up to 2048");
  }
  return found;
}

cv::Size fixed_size(const cv::FileNode& input) {
  const cv::FileNode size = entry(input, "size", &cv::FileNode::isSeq);
  if (size.size() != 2) {
    throw Error("its size is not [H, W]");
  }
  return {length(size[1]), length(size[0])};
}

bool is_number(const cv::FileNode& node) { return node.isInt() || node.isReal(); }

Sidecar parse(const cv::FileNode& card) {
  const cv::FileNode input = entry(card, "input", &cv::FileNode::isMap);
  const std::string name = entry(input, "name", &cv::FileNode::isString).string();
  const cv::FileNode bytes = card["bytes"];
  if (!is_number(bytes)) {
    throw Error("without a right \"bytes\"");
  }
  return {name, fixed_size(input), static_cast<double>(bytes)};
}

std::string text(const cv::FileNode& card, const char* key) {
  const cv::FileNode found = card.isMap() ? card[key] : cv::FileNode();
  return found.isString() ? found.string() : std::string();
}

void check_purpose(const cv::FileNode& card, const fs::path& sidecar, const fs::path& model) {
  const std::string written_as = text(card, "format");
  if (written_as.empty()) {
    throw Error(sidecar.string() + " is not a sidecar of latefusion; export again");
  }
  if (written_as != FORMAT) {
    throw Error(sidecar.string() + " has the format " + written_as + "; this version reads " +
                FORMAT + ", so export again");
  }
  const std::string target = text(card, "target");
  if (target != "opencv" && target != "tensorflow") {
    throw Error(
        model.string() + " is for " + (target == "onnx" ? "ONNX Runtime" : "another runtime") +
        "; `latefusion export CHECKPOINT --target opencv --size H,W` makes the file for OpenCV");
  }
}

}  // namespace

Sidecar read_sidecar(const fs::path& model) {
  const fs::path sidecar = fs::path(model).replace_extension(".json");
  const Bytes bytes = read_bytes(sidecar, "an exported file needs its sidecar beside it");
  try {
    const int mode = cv::FileStorage::READ | cv::FileStorage::MEMORY | cv::FileStorage::FORMAT_JSON;
    const cv::FileStorage storage(std::string(bytes.begin(), bytes.end()), mode);
    const cv::FileNode card = storage.isOpened() ? storage.root() : cv::FileNode();
    check_purpose(card, sidecar, model);
    try {
      return parse(card);
    } catch (const Error& error) {
      throw Error(sidecar.string() + " is a damaged sidecar (" + error.what() + "); export again");
    }
  } catch (const cv::Exception&) {
    throw Error(sidecar.string() + " is not JSON that OpenCV can read; export again");
  }
}

}  // namespace latefusion
