// latefusion in C++: from an 8-bit image to its matte with an exported network, in OpenCV.
//
// Images are BGR, CV_8UC3, as OpenCV reads them; planes such as alpha are CV_32F in [0, 1] and have
// the image's size. Mean and scale live in the network. What a user can cause is an Error, and its
// one line names the thing and the cure. Results equal those of the Python package.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

namespace latefusion {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What the network found in one photo: four planes of the photo's size.
struct Matte {
  cv::Mat alpha;            // blend * fg + (1 - blend) * (1 - bg)
  cv::Mat fg;               // probability of foreground, from the foreground branch
  cv::Mat bg;               // probability of background, from the background branch
  cv::Mat blend;            // the fusion weight beta: 1 trusts fg, 0 trusts bg
  double milliseconds = 0;  // of the network alone; the first photo also pays for its set-up
};

// An exported network, loaded once and used for many photos, one at a time: it holds the state of
// its last run, so a thread needs a network of its own.
class Network {
 public:
  // An .onnx or .pb file that `latefusion export --target opencv` (or tensorflow) made, with its
  // sidecar, the .json of the same name, beside it. Throws Error.
  explicit Network(const std::filesystem::path& model);

  Network(Network&&) = default;
  Network& operator=(Network&&) = default;
  Network(const Network&) = delete;  // a copy of a cv::dnn::Net shares its state
  Network& operator=(const Network&) = delete;

  // The matte of an image (CV_8UC3, BGR) of any size. Throws Error.
  Matte matte(const cv::Mat& image);

  // The network's input, to which a photo is resized and padded.
  cv::Size size() const { return size_; }

 private:
  std::vector<cv::Mat> forward(const cv::Mat& blob);

  std::string name_;   // of the file, for messages
  std::string input_;  // of the graph
  cv::Size size_;
  cv::dnn::Net net_;
};

// Equation 2 of the paper for planes (CV_32F): beta * fg + (1 - beta) * (1 - bg). Throws Error.
cv::Mat blend(const cv::Mat& fg, const cv::Mat& bg, const cv::Mat& beta);

// The subject's own colour (CV_8UC3) for an image and its alpha: opaque pixels keep the photo's,
// soft ones and a margin around them get an estimate without the old background, and everything
// further out is black. Throws Error.
cv::Mat foreground(const cv::Mat& image, const cv::Mat& alpha);

// BGRA (CV_8UC4), straight (not multiplied by alpha), in the subject's own colours. `opacity` is the
// alpha (CV_32F) of an image that is itself transparent. Throws Error.
cv::Mat cutout(const cv::Mat& image, const cv::Mat& alpha, const cv::Mat& opacity = cv::Mat());

// The subject (CV_8UC3) on a colour (BGR), or on another image of any size, which is cropped to
// fill. Throws Error.
cv::Mat composite(const cv::Mat& image, const cv::Mat& alpha, const cv::Vec3b& colour,
                  const cv::Mat& opacity = cv::Mat());
cv::Mat composite(const cv::Mat& image, const cv::Mat& alpha, const cv::Mat& background,
                  const cv::Mat& opacity = cv::Mat());

}  // namespace latefusion
