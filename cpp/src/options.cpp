#include "options.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <sstream>

#include "results.hpp"

namespace latefusion {
namespace {

using Words = std::vector<std::string>;

bool holds(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The different words between the commas.
Words split(const std::string& list) {
  Words words;
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');) {
    if (!holds(words, word)) {
      words.push_back(word);
    }
  }
  return words;
}

using Setter = std::function<void(Options&, const std::string&)>;

const std::map<std::string, Setter> WITH_VALUE = {
    {"--model", [](Options& options, const std::string& value) { options.model = value; }},
    {"--image", [](Options& options, const std::string& value) { options.image = value; }},
    {"--background",
     [](Options& options, const std::string& value) { options.background = value; }},
    {"--save", [](Options& options, const std::string& value) { options.kinds = split(value); }},
    {"--out", [](Options& options, const std::string& value) { options.out = value; }},
};

const std::map<std::string, bool Options::*> FLAGS = {
    {"--show", &Options::show},
    {"--help", &Options::help},
    {"-h", &Options::help},
    {"--version", &Options::version},
};

// Takes the option at `next`, and its value where it has one.
void take(const Words& arguments, size_t& next, Options& options) {
  const std::string& option = arguments[next++];
  const auto flag = FLAGS.find(option);
  if (flag != FLAGS.end()) {
    options.*flag->second = true;
    return;
  }
  const auto set = WITH_VALUE.find(option);
  if (set == WITH_VALUE.end()) {
    throw UsageError("unknown option " + option + "; --help lists those that there are");
  }
  if (next == arguments.size() || arguments[next].empty()) {
    throw UsageError(option + " needs a value; see --help");
  }
  set->second(options, arguments[next++]);
}

void add_default_kind(Options& options) {
  if (!options.kinds.empty()) {
    return;
  }
  if (!options.background.empty()) {
    options.kinds = {COMPOSITE};
  } else if (!options.show) {
    options.kinds = {"cutout"};
  }
}

bool names_a_png(const std::filesystem::path& path) {
  const std::string suffix = path.extension().string();
  return suffix == ".png" || suffix == ".PNG";
}

bool is_one_file(const Options& options) {
  return options.kinds.size() == 1 && names_a_png(options.out);
}

std::string joined(const Words& words) {
  std::string list;
  for (const std::string& word : words) {
    list += (list.empty() ? "" : ", ") + word;
  }
  return list;
}

void check_kinds(const Options& options) {
  const Words known = all_kinds();
  for (const std::string& kind : options.kinds) {
    if (!holds(known, kind)) {
      throw UsageError("unknown kind '" + kind + "'; --save takes " + joined(known));
    }
  }
  if (holds(options.kinds, COMPOSITE) && options.background.empty()) {
    throw UsageError("--save composite needs --background COLOR or IMAGE");
  }
}

void check(const Options& options) {
  if (options.model.empty() || options.image.empty()) {
    throw UsageError("give --model M.onnx and --image PHOTO; --help says more");
  }
  check_kinds(options);
  if (names_a_png(options.out) && !is_one_file(options)) {
    throw UsageError("--out " + options.out.string() + " is one file, and --save names " +
                     std::to_string(options.kinds.size()) + " kinds; give a folder");
  }
}

}  // namespace

const char HELP[] =
    R"(usage: latefusion-cpp --model M.onnx --image PHOTO [option ...]

Cuts the people out of a photo with a network that `latefusion export --target opencv` made.

  --model M.onnx          the network; its sidecar M.json lies beside it
  --image PHOTO           JPEG, PNG, WebP, TIFF or BMP
  --background COLOR      a composite on a colour: #1e90ff, 30,144,255 or white
  --background IMAGE      a composite on another photo, which is cropped to fill
  --save KIND[,KIND...]   cutout (default), alpha, alpha16, fg, bg, blend, composite (default
                          where there is a background)
  --out FOLDER            where <name>-<kind>.png go (default: the current folder)
  --out FILE.png          the file, for one kind
  --show                  a window with the composite, on green where there is no background
  --help, --version
)";

std::filesystem::path Options::file(const std::string& kind) const {
  if (is_one_file(*this)) {
    return out;
  }
  std::filesystem::path name = image.stem();
  name += "-" + kind + ".png";
  return out / name;
}

Options parse(const Words& arguments) {
  Options options;
  for (size_t next = 0; next < arguments.size();) {
    take(arguments, next, options);
  }
  if (!options.help && !options.version) {
    add_default_kind(options);
    check(options);
  }
  return options;
}

}  // namespace latefusion
