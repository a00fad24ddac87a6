#include "sidecar.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "framing.hpp"

namespace latefusion {
namespace {

constexpr char FORMAT[] = "latefusion/2";
constexpr char ANY_SIZE[] = "dynamic";
constexpr Reach LEAST_REACH = {4, 6};
constexpr int MOST_LEVELS = 16;  // of lists in lists

// What is wrong with an entry; `read_sidecar` says of which file.
class Damage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An entry that has to be there; a FileNode of another type would convert to an odd value instead.
cv::FileNode entry(const cv::FileNode& map, const char* key,
                   bool (cv::FileNode::*is_right)() const) {
  const cv::FileNode found = map.isMap() ? map[key] : cv::FileNode();
  if (!(found.*is_right)()) {
    throw Damage(std::string("without a right \"") + key + "\"");
  }
  return found;
}

int length(const cv::FileNode& given) {
  const int found = given.isInt() ? static_cast<int>(given) : 0;
  if (found < 1 || found > LARGEST || found % MULTIPLE != 0) {
    throw Damage("its size is not in multiples of 32 up to 2048");
  }
  return found;
}

cv::Size fixed_size(const cv::FileNode& input) {
  const cv::FileNode size = entry(input, "size", &cv::FileNode::isSeq);
  if (size.size() != 2) {
    throw Damage("its size is not [H, W]");
  }
  return {length(size[1]), length(size[0])};
}

std::string sha256_of(const cv::FileNode& map) {
  return entry(map, "sha256", &cv::FileNode::isString).string();
}

int reach_of(const cv::FileNode& given, int least) {
  const int found = given.isInt() ? static_cast<int>(given) : 0;
  if (found < least || found > LARGEST || found % 2 != 0) {
    throw Damage("with an invalid reach");
  }
  return found;
}

std::optional<Half> fusion_of(const cv::FileNode& card) {
  if (card["fusion"].empty()) {
    return std::nullopt;
  }
  const cv::FileNode fusion = entry(card, "fusion", &cv::FileNode::isMap);
  const cv::FileNode reach = entry(fusion, "reach", &cv::FileNode::isSeq);
  if (reach.size() != 2) {
    throw Damage("with an invalid reach");
  }
  return Half{{reach_of(reach[0], LEAST_REACH.inside), reach_of(reach[1], LEAST_REACH.border)},
              sha256_of(fusion)};
}

Sidecar parse(const cv::FileNode& card) {
  const cv::FileNode input = entry(card, "input", &cv::FileNode::isMap);
  Sidecar found;
  found.input = entry(input, "name", &cv::FileNode::isString).string();
  found.target = card["target"].string();
  found.sha256 = sha256_of(card);
  found.fusion = fusion_of(card);
  if (found.fusion && input["size"].isString() && input["size"].string() == ANY_SIZE) {
    found.side = length(input["side"]);
    return found;
  }
  if (found.fusion) {
    throw Damage("two files of a fixed size");
  }
  found.size = fixed_size(input);
  found.side = std::max(found.size.width, found.size.height);
  return found;
}

// OpenCV's parser calls itself for each list in a list, until the stack ends.
bool is_shallow(const std::string& json) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char letter = json[i];
    if (letter == '"') {
      quoted = !quoted;
    } else if (quoted) {
      i += letter == '\\' ? 1 : 0;
    } else if (letter == '{' || letter == '[') {
      ++depth;
    } else if (letter == '}' || letter == ']') {
      --depth;
    }
    if (depth > MOST_LEVELS) {
      return false;
    }
  }
  return true;
}

std::string text(const cv::FileNode& card, const char* key) {
  const cv::FileNode found = card.isMap() ? card[key] : cv::FileNode();
  return found.isString() ? found.string() : std::string();
}

void check_purpose(const cv::FileNode& card, const std::string& sidecar,
                   const std::string& model) {
  const std::string written_as = text(card, "format");
  if (written_as.empty()) {
    throw Error(Code::model, sidecar + " is not a sidecar of latefusion; export again");
  }
  if (written_as != FORMAT) {
    throw Error(Code::model, sidecar + " has the format " + written_as + "; this version reads " +
                                 FORMAT + ", so export again");
  }
  const std::string target = text(card, "target");
  if (target != "opencv" && target != "tensorflow") {
    const bool runs_there = target == "onnx" || target == "lazy";
    throw Error(Code::model, model + " is for " + (runs_there ? "ONNX Runtime" : "another runtime") +
                                 "; `latefusion export CHECKPOINT --target opencv` makes the files"
                                 " for OpenCV");
  }
}

}  // namespace

Sidecar read_sidecar(const Model& model) {
  const std::string name = std::filesystem::path(model.name).replace_extension(".json").string();
  if (!is_shallow(model.sidecar)) {
    throw Error(Code::model, name + " has too many lists in lists; export again");
  }
  try {
    const int mode = cv::FileStorage::READ | cv::FileStorage::MEMORY | cv::FileStorage::FORMAT_JSON;
    const cv::FileStorage storage(model.sidecar, mode);
    const cv::FileNode card = storage.isOpened() ? storage.root() : cv::FileNode();
    check_purpose(card, name, model.name);
    return parse(card);
  } catch (const Damage& damage) {
    throw Error(Code::model, name + " is a damaged sidecar (" + damage.what() + "); export again");
  } catch (const cv::Exception&) {
    throw Error(Code::model, name + " is not JSON that OpenCV can read; export again");
  }
}

}  // namespace latefusion
