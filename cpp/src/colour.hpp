// The colours that --background understands.
#pragma once

#include <optional>
#include <string>

#include <opencv2/core.hpp>

namespace latefusion {

// `#rrggbb`, `r,g,b` with levels from 0 to 255, or a common CSS name, as BGR.
std::optional<cv::Vec3b> colour(const std::string& text);

}  // namespace latefusion
