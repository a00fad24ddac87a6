// The bytes of a file, or one line that says why there are none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace latefusion {

using Bytes = std::vector<unsigned char>;

// Throws Error: what is wrong with the file, followed by `cure`.
Bytes read_bytes(const std::filesystem::path& file, const std::string& cure);

// A text of several lines, such as that of a cv::Exception, in one.
std::string one_line(const std::string& text);

// What OpenCV says of an error, in one line and not too long.
std::string in_brief(const cv::Exception& error);

}  // namespace latefusion
