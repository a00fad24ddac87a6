// latefusion in C++: from an 8-bit image to the matte of `latefusion matte`, with an exported network
// in OpenCV.
//
// Images are BGR, CV_8UC3, as OpenCV reads them; planes such as alpha are CV_32F in [0, 1] and have
// the image's size. Mean and scale live in the network. What a user can cause is an Error, and its
// one line names the thing and the cure. Results equal those of the Python package.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace latefusion {

enum class Code {
  argument = 1,  // an image, a plane or an option that is not as documented
  file,          // a file or folder that is missing, or cannot be read or written
  photo,         // a photo that is damaged or of an unknown kind
  model,         // a model that is damaged, does not match its sidecar, or is for another runtime
  backend,       // a backend or target that this build of OpenCV does not have
  memory,        // an image that is too large for the memory
};

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& line) : std::runtime_error(line), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

// A network that `latefusion export --target opencv` (or tensorflow) made, in memory.
struct Model {
  std::string name = "model";          // for messages
  std::vector<unsigned char> network;  // bytes of the .onnx or .pb file
  std::string sidecar;                 // text of the .json file
  std::vector<unsigned char> fusion;   // bytes of the .fusion.onnx file; empty if there is none
};

// The model of an .onnx or .pb file, with the files of the same name that lie beside it: the sidecar
// .json and, of a network of any size, .fusion.onnx. Throws Error.
Model read_model(const std::filesystem::path& file);

enum class Framing { automatic, whole };  // look a second time, closer, at a small subject; or once
enum class Refine { closed_form, off };   // solve the outline anew from the photo's colours; or not
enum class Backend { opencv, openvino, cuda };
enum class Target { cpu, opencl, opencl_fp16, cuda, cuda_fp16 };

// The options of a matte, with the names and defaults that they have in Python.
struct Options {
  int size = 0;  // longer side of the network's input, a multiple of 32; 0 is the model's own
  Framing framing = Framing::automatic;
  Refine refine = Refine::closed_form;
  // Where |fg + bg - 1| is no more, the fusion network does not run, and alpha is no further from the
  // whole network's, before refining. 0 runs it everywhere.
  double epsilon = 1 / 255.0;
  Backend backend = Backend::opencv;
  Target target = Target::cpu;
};

// What was found in one photo. Copies share their pixels, as those of a cv::Mat do.
class Matte {
 public:
  cv::Mat alpha;            // blend * fg + (1 - blend) * (1 - bg), with its outline refined
  double milliseconds = 0;  // of the network alone; the first photo also pays for its set-up
  double fused = 1;         // share of tiles in which the fusion network ran

  // Planes of the photo's size, enlarged from the network's at each call.
  cv::Mat fg() const;     // probability of foreground, from the foreground branch
  cv::Mat bg() const;     // probability of background, from the background branch
  cv::Mat blend() const;  // the fusion weight beta: 1 trusts fg, 0 trusts bg; 1/2 if fusion did not run

 private:
  friend class Predictor;
  struct Views;
  std::shared_ptr<const Views> views_;
};

// A network with its options, loaded once and used for many photos, one at a time. A copy shares the
// model's bytes and nothing else, so that each thread can have one. One that was moved from can only
// be assigned to or destroyed.
class Predictor {
 public:
  explicit Predictor(const std::filesystem::path& model, const Options& options = {});
  explicit Predictor(Model model, const Options& options = {});  // both throw Error
  Predictor(const Predictor& other);
  Predictor(Predictor&& other) noexcept;
  Predictor& operator=(Predictor other) noexcept;
  ~Predictor();

  // The matte of an image (CV_8UC3, BGR) of any size. Throws Error.
  Matte matte(const cv::Mat& image);

  // The mattes of several images, one after the other. Throws Error, naming the image by its index.
  std::vector<Matte> mattes(const std::vector<cv::Mat>& images);

  const Options& options() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
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
