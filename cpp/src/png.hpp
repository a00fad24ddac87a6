// From pixels to a PNG file, whole or not at all.
#pragma once

#include <filesystem>

#include <opencv2/core.hpp>

namespace latefusion {

// Makes a folder and those above it where they are missing. Throws Error.
void make_folder(const std::filesystem::path& folder);

// Throws Error.
void write_png(const std::filesystem::path& file, const cv::Mat& pixels);

}  // namespace latefusion
