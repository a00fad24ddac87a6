// A second, closer look at a subject that is small in its photo.
// The C++ of src/latefusion/inference/closeup.py; change both together.
#pragma once

#include <optional>

#include <opencv2/core.hpp>

#include "framing.hpp"

namespace latefusion {

// The box of a subject to be looked at again, in pixels of the photo and with a margin, given alpha
// at the network's size. None if there is no subject, or if that gains little resolution.
std::optional<cv::Rect> closer_box(const cv::Mat1f& alpha, const Letterbox& frame);

// Whether two looks, at alphas of one size, contradict each other in too much of the subject.
bool contradict(const cv::Mat1f& before, const cv::Mat1f& after);

}  // namespace latefusion
