#include "bytes.hpp"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "latefusion/matting.hpp"

namespace latefusion {

namespace fs = std::filesystem;

constexpr size_t LONGEST = 160;  // letters of OpenCV's own words

Bytes read_bytes(const fs::path& file, const std::string& cure) {
  std::error_code unknown;
  const fs::file_type type = fs::status(file, unknown).type();
  if (type == fs::file_type::not_found) {
    throw Error(Code::file, file.string() + " does not exist; " + cure);
  }
  if (type == fs::file_type::directory) {
    throw Error(Code::file, file.string() + " is a folder; " + cure);
  }
  // Reading a pipe may wait for ever, and reading a device never end.
  if (type == fs::file_type::fifo || type == fs::file_type::socket ||
      type == fs::file_type::character || type == fs::file_type::block) {
    throw Error(Code::file, file.string() + " is a pipe or a device, not a file; " + cure);
  }
  std::ifstream stream(file, std::ios::binary);
  Bytes bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad()) {
    const std::string reason = std::generic_category().message(errno);
    throw Error(Code::file, file.string() + " cannot be read (" + reason + "); " + cure);
  }
  return bytes;
}

std::string one_line(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) {
    line += (line.empty() ? "" : " ") + word;
  }
  return line;
}

bool is_of_memory(const cv::Exception& error) { return error.code == cv::Error::StsNoMem; }

std::string in_brief(const cv::Exception& error) {
  const std::string line = one_line(error.err);
  return line.size() <= LONGEST ? line : line.substr(0, LONGEST) + "...";
}

}  // namespace latefusion
