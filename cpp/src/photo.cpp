#include "photo.hpp"

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "bytes.hpp"
#include "cut_short.hpp"
#include "latefusion/matting.hpp"
#include "silence.hpp"

namespace latefusion {
namespace {

namespace fs = std::filesystem;

// As in Python: above this a file is more likely a decompression bomb than a photo.
constexpr size_t MAX_PIXELS = 250'000'000;

constexpr char FORMATS[] = "; use JPEG, PNG, WebP, TIFF or BMP";

cv::Mat decode(const Bytes& file, int flags) {
  const Silence silence;  // libpng, libjpeg and OpenCV write to stderr by themselves
  try {
    return cv::imdecode(file, flags);
  } catch (const cv::Exception& error) {
    if (is_of_memory(error)) {
      throw;
    }
    return {};
  }
}

void check_file(const Bytes& bytes, const fs::path& file) {
  if (bytes.empty()) {
    throw Error(Code::photo, file.string() + " is empty" + FORMATS);
  }
  if (cut_short(bytes)) {
    throw Error(Code::photo, file.string() + " is damaged or cut short; get a whole copy of it");
  }
}

bool is_jpeg(const Bytes& file) { return file.size() > 2 && file[0] == 0xFF && file[1] == 0xD8; }

// OpenCV multiplies the colours of a TIFF by its alpha, so they are not the photo's.
bool is_tiff(const Bytes& file) {
  return file.size() > 4 &&
         ((file[0] == 'I' && file[1] == 'I') || (file[0] == 'M' && file[1] == 'M'));
}

// 16 bits as 8, as in Python: grey is rounded, and of colours the lower 8 bits are cut off.
cv::Mat in_8_bits(cv::Mat pixels) {
  if (pixels.depth() == CV_16U) {
    const bool grey = pixels.channels() == 1;
    pixels.convertTo(pixels, CV_8U, grey ? 1.0 / 257 : 1.0 / 256, grey ? 0 : -127.5 / 256);
  }
  return pixels;
}

// Upright BGR. By itself OpenCV would round some formats of 16 bits and cut off others.
cv::Mat decode_colours(const Bytes& file, int stored_type) {
  if (stored_type == CV_16UC3) {
    return in_8_bits(decode(file, cv::IMREAD_COLOR | cv::IMREAD_ANYDEPTH));
  }
  if (stored_type != CV_16UC1) {
    return decode(file, cv::IMREAD_COLOR);
  }
  const cv::Mat grey = in_8_bits(decode(file, cv::IMREAD_ANYDEPTH));
  cv::Mat image;
  if (!grey.empty()) {
    cv::cvtColor(grey, image, cv::COLOR_GRAY2BGR);
  }
  return image;
}

// Only where both decodes show the same picture does the alpha of one fit the colours of the other.
bool same_colours(const cv::Mat& image, const cv::Mat& stored) {
  if (image.size() != stored.size()) {
    return false;
  }
  cv::Mat colours;
  cv::cvtColor(stored, colours, cv::COLOR_BGRA2BGR);
  return cv::norm(image, colours, cv::NORM_INF) <= 1;
}

// `stored` are the pixels as the file has them: with the alpha, but not turned upright.
cv::Mat read_opacity(const Bytes& bytes, const cv::Mat& stored, const cv::Mat& image,
                     const fs::path& file) {
  const bool has_alpha = stored.channels() == 4;
  const bool misread =
      has_alpha ? is_tiff(bytes) || !same_colours(image, stored) : has_transparent_colour(bytes);
  if (misread) {
    throw Error(Code::photo, file.string() +
                " has transparency, or CMYK, that OpenCV does not read rightly; save it as an "
                "upright PNG");
  }
  cv::Mat opacity;
  if (has_alpha) {
    cv::extractChannel(stored, opacity, 3);
    opacity.convertTo(opacity, CV_32F, 1.0 / 255);
  }
  return opacity;
}

}  // namespace

Photo read_photo(const fs::path& file) {
  const Bytes bytes = read_bytes(file, "give the path of a photo");
  check_file(bytes, file);
  const cv::Mat stored = is_jpeg(bytes) ? cv::Mat() : decode(bytes, cv::IMREAD_UNCHANGED);
  const cv::Mat image = decode_colours(bytes, stored.type());
  if (image.empty()) {
    throw Error(Code::photo, file.string() + " is damaged, or not an image that OpenCV reads" + FORMATS);
  }
  if (image.total() > MAX_PIXELS) {
    throw Error(Code::photo, file.string() + " has more than 250 million pixels; make it smaller");
  }
  return {image, read_opacity(bytes, in_8_bits(stored), image, file)};
}

}  // namespace latefusion
