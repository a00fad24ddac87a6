#include "cut_short.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <string>

namespace latefusion {
namespace {

bool has(const Bytes& file, size_t at, const std::string& text) {
  return at <= file.size() && file.size() - at >= text.size() &&
         std::equal(text.begin(), text.end(), file.begin() + static_cast<std::ptrdiff_t>(at),
                    [](char left, unsigned char right) {
                      return static_cast<unsigned char>(left) == right;
                    });
}

// `count` bytes as a number, the most significant first. The caller has checked that they exist.
size_t number(const Bytes& file, size_t at, size_t count) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    found = found * 256 + file[at + i];
  }
  return found;
}

// Where the compressed pixels of a JPEG start, or the file's length. Before it come segments of a
// stated length, one of which may hold a whole JPEG as thumbnail, end mark included.
size_t first_scan(const Bytes& file) {
  size_t at = 2;
  while (at + 4 <= file.size()) {
    if (file[at] != 0xFF || file[at + 1] == 0xFF) {
      ++at;  // a stray byte, or a fill byte
    } else if (file[at + 1] == 0xDA) {
      return at;
    } else {
      at += 2 + number(file, at + 2, 2);
    }
  }
  return file.size();
}

bool jpeg_cut_short(const Bytes& file) {
  const std::array<unsigned char, 2> end_mark = {0xFF, 0xD9};
  const auto scan = file.begin() + static_cast<std::ptrdiff_t>(first_scan(file));
  return std::search(scan, file.end(), end_mark.begin(), end_mark.end()) == file.end();
}

// Where a PNG's chunk of this type starts with its length, or the file's length. The file's
// signature and a chunk's length, type and checksum have 8, 4, 4 and 4 bytes.
size_t png_chunk(const Bytes& file, const std::string& type) {
  size_t at = 8;
  while (at + 12 <= file.size() && !has(file, at + 4, type)) {
    at += 12 + number(file, at, 4);
  }
  return at + 12 <= file.size() ? at : file.size();
}

bool png_cut_short(const Bytes& file) { return png_chunk(file, "IEND") == file.size(); }

bool webp_cut_short(const Bytes& file) {
  Bytes length(file.begin() + 4, file.begin() + 8);
  std::reverse(length.begin(), length.end());
  return file.size() < 8 + number(length, 0, 4);
}

struct Format {
  std::string start;
  std::function<bool(const Bytes&)> is_cut_short;
};

const std::string PNG = "\x89PNG\r\n\x1a\n";

}  // namespace

bool cut_short(const Bytes& file) {
  const std::array<Format, 3> formats = {{
      {"\xFF\xD8\xFF", jpeg_cut_short},
      {PNG, png_cut_short},
      {"RIFF", webp_cut_short},
  }};
  const auto is_of = [&file](const Format& format) { return has(file, 0, format.start); };
  const auto format = std::find_if(formats.begin(), formats.end(), is_of);
  return format != formats.end() && file.size() >= 12 && format->is_cut_short(file);
}

bool has_transparent_colour(const Bytes& file) {
  return has(file, 0, PNG) && png_chunk(file, "tRNS") != file.size();
}

}  // namespace latefusion
