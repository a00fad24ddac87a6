// latefusion-cpp: cuts the people out of one photo.
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "bytes.hpp"
#include "colour.hpp"
#include "command.hpp"
#include "latefusion/matting.hpp"
#include "photo.hpp"
#include "png.hpp"
#include "results.hpp"
#include "silence.hpp"
#include "window.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;

std::optional<Background> read_background(const std::string& text) {
  if (text.empty()) {
    return std::nullopt;
  }
  if (const auto found = colour(text)) {
    return *found;
  }
  std::error_code unknown;
  if (!fs::exists(text, unknown)) {
    throw Error(Code::argument,
                "'" + text + "' is neither a colour nor a file; use e.g. white or #1e90ff");
  }
  return read_photo(text).image;
}

// Tells before the network runs what could not be written after it.
void prepare_out(const Command& command) {
  for (const std::string& kind : command.kinds) {
    const fs::path file = command.file(kind);
    make_folder(file.has_parent_path() ? file.parent_path() : ".");
    std::error_code missing;
    if (fs::is_directory(file, missing)) {
      throw Error(Code::file,
                  file.string() + " is a folder, so no file; give another place to --out");
    }
    for (const fs::path& source : {command.image, fs::path(command.background)}) {
      if (fs::equivalent(file, source, missing)) {
        throw Error(Code::file, file.string() + " is what is read; give another place to --out");
      }
    }
  }
}

// protobuf complains on stderr by itself.
Predictor load(const Command& command) {
  const Silence silence;
  return Predictor(command.model, command.options);
}

Matte find_matte(Predictor predictor, const Photo& photo) {
  const Silence silence;
  return predictor.matte(photo.image);
}

void run(const Command& command) {
  if (command.show) {
    check_window();
  }
  const Photo photo = read_photo(command.image);
  const std::optional<Background> background = read_background(command.background);
  Predictor predictor = load(command);
  prepare_out(command);  // last, so that nothing is left behind where the rest does not work
  const Result result = {photo.image, find_matte(std::move(predictor), photo), background,
                         photo.opacity};
  for (const std::string& kind : command.kinds) {
    const fs::path file = command.file(kind);
    write_png(file, pixels(kind, result));
    std::cout << file.string() << '\n';
  }
  std::printf("forward %.1f ms\n", result.matte.milliseconds);
  if (command.show) {
    show(pixels(SHEET, result), command.image.filename().string());
  }
}

void start(const std::vector<std::string>& words) {
  const Command command = parse(words);
  if (command.help) {
    std::cout << HELP;
  } else if (command.version) {
    std::cout << "latefusion-cpp " LATEFUSION_VERSION " (OpenCV " << cv::getVersionString()
              << ")\n";
  } else {
    run(command);
  }
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0) {
    throw Error(Code::file, "the output cannot be written; is the disk full?");
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
    return complain(NO_MEMORY, 1);
  } catch (const cv::Exception& error) {
    return complain(is_of_memory(error) ? NO_MEMORY : error.what(), 1);
  } catch (const std::exception& error) {
    return complain(error.what(), 1);
  } catch (...) {
    return complain("something went wrong that should not; please report it", 1);
  }
}
