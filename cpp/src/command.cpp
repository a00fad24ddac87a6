#include "command.hpp"

#include <algorithm>
#include <cctype>
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

using Setter = std::function<void(Command&, const std::string&)>;

// One of a table's words. Throws UsageError.
template <typename Value>
Value chosen(const std::string& option, const std::string& word,
             const std::map<std::string, Value>& table) {
  const auto found = table.find(word);
  if (found != table.end()) {
    return found->second;
  }
  std::string words;
  for (const auto& entry : table) {
    words += (words.empty() ? "" : " or ") + entry.first;
  }
  throw UsageError("unknown " + option + " '" + word + "'; choose " + words);
}

// Throws UsageError.
double number(const std::string& option, const std::string& word) {
  std::istringstream stream(word);
  double found = 0;
  if (!(stream >> found) || stream.peek() != std::istringstream::traits_type::eof()) {
    throw UsageError(option + " '" + word + "' is not a number");
  }
  return found;
}

// Throws UsageError.
int whole_number(const std::string& option, const std::string& word) {
  const double found = number(option, word);
  if (!(found >= 1 && found <= 1e6) || found != static_cast<int>(found)) {
    throw UsageError(option + " '" + word + "' is not a number of pixels; use e.g. 512");
  }
  return static_cast<int>(found);
}

const std::map<std::string, Framing> FRAMINGS = {{"auto", Framing::automatic},
                                                 {"whole", Framing::whole}};
const std::map<std::string, Refine> REFINEMENTS = {{"closed-form", Refine::closed_form},
                                                   {"off", Refine::off}};
const std::map<std::string, Backend> BACKENDS = {
    {"opencv", Backend::opencv}, {"openvino", Backend::openvino}, {"cuda", Backend::cuda}};
const std::map<std::string, Target> TARGETS = {{"cpu", Target::cpu},
                                               {"opencl", Target::opencl},
                                               {"opencl-fp16", Target::opencl_fp16},
                                               {"cuda", Target::cuda},
                                               {"cuda-fp16", Target::cuda_fp16}};

const std::map<std::string, Setter> WITH_VALUE = {
    {"--model", [](Command& command, const std::string& value) { command.model = value; }},
    {"--image", [](Command& command, const std::string& value) { command.image = value; }},
    {"--background",
     [](Command& command, const std::string& value) { command.background = value; }},
    {"--save", [](Command& command, const std::string& value) { command.kinds = split(value); }},
    {"--out", [](Command& command, const std::string& value) { command.out = value; }},
    {"--size",
     [](Command& command, const std::string& value) {
       command.options.size = whole_number("--size", value);
     }},
    {"--framing",
     [](Command& command, const std::string& value) {
       command.options.framing = chosen("--framing", value, FRAMINGS);
     }},
    {"--refine",
     [](Command& command, const std::string& value) {
       command.options.refine = chosen("--refine", value, REFINEMENTS);
     }},
    {"--epsilon",
     [](Command& command, const std::string& value) {
       command.options.epsilon = number("--epsilon", value);
     }},
    {"--backend",
     [](Command& command, const std::string& value) {
       command.options.backend = chosen("--backend", value, BACKENDS);
     }},
    {"--target",
     [](Command& command, const std::string& value) {
       command.options.target = chosen("--target", value, TARGETS);
     }},
};

const std::map<std::string, bool Command::*> FLAGS = {
    {"--show", &Command::show},
    {"--help", &Command::help},
    {"-h", &Command::help},
    {"--version", &Command::version},
};

// Takes the option at `next`, and its value where it has one.
void take(const Words& arguments, size_t& next, Command& command) {
  const std::string& option = arguments[next++];
  const auto flag = FLAGS.find(option);
  if (flag != FLAGS.end()) {
    command.*flag->second = true;
    return;
  }
  const auto set = WITH_VALUE.find(option);
  if (set == WITH_VALUE.end()) {
    throw UsageError("unknown option " + option + "; --help lists those that there are");
  }
  if (next == arguments.size() || arguments[next].empty()) {
    throw UsageError(option + " needs a value; see --help");
  }
  set->second(command, arguments[next++]);
}

void add_default_kind(Command& command) {
  if (!command.kinds.empty()) {
    return;
  }
  if (!command.background.empty()) {
    command.kinds = {COMPOSITE};
  } else if (!command.show) {
    command.kinds = {"cutout"};
  }
}

std::string suffix_of(const std::filesystem::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return suffix;
}

bool names_a_png(const std::filesystem::path& path) { return suffix_of(path) == ".png"; }

// A picture that Python would write; here a folder of that name would be made.
bool names_another_picture(const std::filesystem::path& path) {
  return holds({".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}, suffix_of(path));
}

bool is_one_file(const Command& command) {
  return command.kinds.size() == 1 && names_a_png(command.out);
}

std::string joined(const Words& words) {
  std::string list;
  for (const std::string& word : words) {
    list += (list.empty() ? "" : ", ") + word;
  }
  return list;
}

void check_kinds(const Command& command) {
  const Words known = all_kinds();
  for (const std::string& kind : command.kinds) {
    if (!holds(known, kind)) {
      throw UsageError("unknown kind '" + kind + "'; --save takes " + joined(known));
    }
  }
  if (holds(command.kinds, COMPOSITE) && command.background.empty()) {
    throw UsageError("--save composite needs --background COLOR or IMAGE");
  }
}

void check(const Command& command) {
  if (command.model.empty() || command.image.empty()) {
    throw UsageError("give --model M.onnx and --image PHOTO; --help says more");
  }
  check_kinds(command);
  if (names_another_picture(command.out)) {
    throw UsageError("--out " + command.out.string() + " is no PNG, and nothing else is written; "
                     "give FILE.png or a folder");
  }
  if (names_a_png(command.out) && !is_one_file(command)) {
    throw UsageError("--out " + command.out.string() + " is one file, and --save names " +
                     std::to_string(command.kinds.size()) + " kinds; give a folder");
  }
}

}  // namespace

const char HELP[] =
    R"(usage: latefusion-cpp --model M.onnx --image PHOTO [option ...]

Cuts the people out of a photo with a network that `latefusion export --target opencv` made, as
`latefusion matte` does.

  --model M.onnx          the network; M.json and M.fusion.onnx lie beside it
  --image PHOTO           JPEG, PNG, WebP, TIFF or BMP
  --framing auto|whole    auto (default) looks a second time, closer, at a small subject
  --refine closed-form|off
                          closed-form (default) solves the outline anew from the photo's colours
  --size PIXELS           longer side of the network's input (default: the model's)
  --epsilon NUMBER        run the fusion network only where the branches disagree by more (default:
                          1/255); 0 runs it everywhere
  --backend NAME          opencv (default), openvino or cuda, with a --target of cpu (default), opencl,
                          opencl-fp16, cuda or cuda-fp16
  --background COLOR      a composite on a colour: #1e90ff, 30,144,255 or white
  --background IMAGE      a composite on another photo, which is cropped to fill
  --save KIND[,KIND...]   cutout (default), alpha, alpha16, fg, bg, blend, composite (default
                          where there is a background), sheet (all of them in one picture)
  --out FOLDER            where <name>-<kind>.png go (default: the current folder)
  --out FILE.png          the file, for one kind
  --show                  a window with photo, fg, bg, blend, alpha and composite side by side, on
                          green where there is no background
  --help, --version
)";

std::filesystem::path Command::file(const std::string& kind) const {
  if (is_one_file(*this)) {
    return out;
  }
  std::filesystem::path name = image.stem();
  name += "-" + kind + ".png";
  return out / name;
}

Command parse(const Words& arguments) {
  Command command;
  for (size_t next = 0; next < arguments.size();) {
    take(arguments, next, command);
  }
  if (!command.help && !command.version) {
    add_default_kind(command);
    check(command);
  }
  return command;
}

}  // namespace latefusion
