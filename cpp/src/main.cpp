// latefusion-cpp: cuts the people out of one photo.
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "bytes.hpp"
#include "colour.hpp"
#include "latefusion/matting.hpp"
#include "options.hpp"
#include "photo.hpp"
#include "png.hpp"
#include "results.hpp"
#include "silence.hpp"
#include "window.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;

const cv::Vec3b SHOWN_ON = {64, 177, 0};  // BGR: a green that few subjects wear

std::optional<Background> read_background(const std::string& text) {
  if (text.empty()) {
    return std::nullopt;
  }
  if (const auto found = colour(text)) {
    return *found;
  }
  std::error_code unknown;
  if (!fs::exists(text, unknown)) {
    throw Error("'" + text + "' is neither a colour nor a file; use e.g. white or #1e90ff");
  }
  return read_photo(text).image;
}

// Tells before the network runs what could not be written after it.
void prepare_out(const Options& options) {
  for (const std::string& kind : options.kinds) {
    const fs::path file = options.file(kind);
    make_folder(file.has_parent_path() ? file.parent_path() : ".");
    std::error_code missing;
    if (fs::is_directory(file, missing)) {
      throw Error(file.string() + " is a folder, so no file; give another place to --out");
    }
    for (const fs::path& source : {options.image, fs::path(options.background)}) {
      if (fs::equivalent(file, source, missing)) {
        throw Error(file.string() + " is what is read; give another place to --out");
      }
    }
  }
}

Matte find_matte(const fs::path& model, const Photo& photo) {
  const Silence silence;  // protobuf complains on stderr by itself
  return Network(model).matte(photo.image);
}

void show_result(Result result, const fs::path& photo) {
  result.background = result.background.value_or(SHOWN_ON);
  show(pixels(COMPOSITE, result), photo.filename().string());
}

void run(const Options& options) {
  if (options.show) {
    check_window();
  }
  const Photo photo = read_photo(options.image);
  const std::optional<Background> background = read_background(options.background);
  prepare_out(options);
  const Result result = {photo.image, find_matte(options.model, photo), background,
                         photo.opacity};
  for (const std::string& kind : options.kinds) {
    const fs::path file = options.file(kind);
    write_png(file, pixels(kind, result));
    std::cout << file.string() << '\n';
  }
  std::printf("forward %.1f ms\n", result.matte.milliseconds);
  if (options.show) {
    show_result(result, options.image);
  }
}

void start(const std::vector<std::string>& arguments) {
  const Options options = parse(arguments);
  if (options.help) {
    std::cout << HELP;
  } else if (options.version) {
    std::cout << "latefusion-cpp " LATEFUSION_VERSION " (OpenCV " << cv::getVersionString()
              << ")\n";
  } else {
    run(options);
  }
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0) {
    throw Error("the output cannot be written; is the disk full?");
  }
}

int complain(const std::string& text, int exit_code) {
  std::cerr << "error: " << one_line(text) << '\n';
  return exit_code;
}

}  // namespace
}  // namespace latefusion

int main(int count, char** words) {
  using namespace latefusion;
  silence_opencv();
  try {
    start({words + 1, words + count});
    return 0;
  } catch (const UsageError& error) {
    return complain(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return complain("not enough memory for this photo; make it smaller", 1);
  } catch (const std::exception& error) {
    return complain(error.what(), 1);
  } catch (...) {
    return complain("something went wrong that should not; please report it", 1);
  }
}
