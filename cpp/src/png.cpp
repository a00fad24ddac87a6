#include "png.hpp"

#include <cerrno>
#include <fstream>
#include <random>
#include <system_error>

#include <opencv2/imgcodecs.hpp>

#include "bytes.hpp"
#include "latefusion/matting.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;

constexpr int COMPRESSION = 3;  // more takes long and gains little

// A temporary name beside the file, so that renaming it never crosses file systems.
fs::path part_of(const fs::path& file) {
  std::random_device random;
  const std::string name = ".latefusion-" + std::to_string(random()) + ".part";
  return fs::path(file).replace_filename(name);
}

std::error_code write(const fs::path& file, const Bytes& bytes) {
  errno = 0;
  std::ofstream stream(file, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  stream.close();  // a full disk may show here only
  return stream ? std::error_code() : std::error_code(errno, std::generic_category());
}

}  // namespace

void make_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  std::error_code unknown;
  if (!fs::is_directory(folder, unknown)) {
    throw Error(Code::file, "the folder " + folder.string() + " cannot be made (" + failure.message() +
                "); give another one to --out");
  }
}

void write_png(const fs::path& file, const cv::Mat& pixels) {
  Bytes bytes;
  cv::imencode(".png", pixels, bytes, {cv::IMWRITE_PNG_COMPRESSION, COMPRESSION});
  const fs::path part = part_of(file);
  std::error_code failure = write(part, bytes);
  if (!failure) {
    fs::rename(part, file, failure);
  }
  if (failure) {
    std::error_code gone_already;
    fs::remove(part, gone_already);
    throw Error(Code::file, file.string() + " cannot be written (" + failure.message() +
                "); give another place to --out");
  }
}

}  // namespace latefusion
