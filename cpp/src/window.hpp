// --show.
#pragma once

#include <string>

#include <opencv2/core.hpp>

namespace latefusion {

// Throws Error where this program cannot open a window here. Call it before anything starts
// threads.
void check_window();

// Shows an image until a key is pressed or the window is closed.
void show(const cv::Mat& image, const std::string& title);

}  // namespace latefusion
