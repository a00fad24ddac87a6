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

constexpr char NO_MEMORY[] = "not enough memory for this photo; make it smaller";

// Whether OpenCV found too little memory.
bool is_of_memory(const cv::Exception& error);

// What OpenCV says of an error, in one line and not too long.
std::string in_brief(const cv::Exception& error);

}  // namespace latefusion
