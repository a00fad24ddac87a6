// The program of the write-up, written anew: a frozen graph and its text, run by OpenCV alone.
//
//   latefusion export CHECKPOINT --target tensorflow --names write-up -o lfm.pb
//   lfm --model=lfm.pb --image=me.jpg --out=results
//
// It does what the write-up does: the photo is stretched to the size of the network, the program
// subtracts the mean, and F, B and beta are enlarged before they are blended. latefusion-cpp does
// better in each of these; this program is for those who compare the two, or bring their own.

#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#ifdef LFM_WINDOW
#include <opencv2/highgui.hpp>
#endif

namespace fs = std::filesystem;

namespace {

const char* const OPTIONS =
    "{help h     |          | print this }"
    "{model      | lfm.pb   | frozen graph, with its .pbtxt of the same name beside it }"
    "{image      |          | photo of a person }"
    "{out        | .        | folder of the results: fg, bg, beta, alpha and composite }"
    "{width      | 960      | width of the network's input }"
    "{height     | 640      | height of the network's input }"
    "{background | 0,177,64 | colour behind the person: red,green,blue }"
    "{show       |          | also show the results in windows }";

// F, B and beta, in this order.
const std::vector<cv::String> OUTPUTS = {"deFG_side_0_out/ResizeNearestNeighbor",
                                         "deBG_side_0_out/ResizeNearestNeighbor",
                                         "fusion_sigmoid_output/Sigmoid"};
const cv::Scalar MEAN(127.156207, 115.917443, 106.031127);  // red, green, blue

struct Result {
  const char* name;
  cv::Mat picture;
};

cv::Scalar parse_colour(const std::string& text) {
  int red = 0;
  int green = 0;
  int blue = 0;
  if (std::sscanf(text.c_str(), "%d,%d,%d", &red, &green, &blue) != 3) {
    throw std::runtime_error("'" + text + "' is not a colour; give red,green,blue");
  }
  return {static_cast<double>(blue), static_cast<double>(green), static_cast<double>(red)};
}

cv::Mat levels(const cv::Mat& plane, int depth) {  // from [0, 1]
  cv::Mat found;
  plane.convertTo(found, depth, depth == CV_16U ? 65535 : 255);
  return found;
}

cv::dnn::Net load(const fs::path& model) {
  const fs::path text = fs::path(model).replace_extension(".pbtxt");
  try {
    return cv::dnn::readNet(model.string(), text.string());
  } catch (const cv::Exception&) {
    throw std::runtime_error("'" + model.string() + "' does not load with its .pbtxt; give --model="
                             "FILE.pb, from latefusion export --target tensorflow --names write-up");
  }
}

std::vector<cv::Mat> run(const fs::path& model, const cv::Mat& image, cv::Size size) {
  cv::dnn::Net net = load(model);
  net.setInput(cv::dnn::blobFromImage(image, 1.0, size, MEAN, /*swapRB=*/true, /*crop=*/false));
  cv::TickMeter clock;
  std::vector<cv::Mat> found;
  try {
    clock.start();
    net.forward(found, OUTPUTS);  // all in one call: OpenCV 5 refuses a part of the outputs
    clock.stop();
  } catch (const cv::Exception&) {
    throw std::runtime_error(model.string() + " does not run at this size; give the --width and "
                             "--height that it was exported with");
  }
  std::printf("forward: %.0f ms\n", clock.getTimeMilli());
  std::vector<cv::Mat> planes;
  for (const cv::Mat& output : found) {
    cv::Mat plane;
    cv::resize(output.reshape(1, size.height), plane, image.size());
    planes.push_back(plane);
  }
  return planes;
}

cv::Mat blend(const cv::Mat& fg, const cv::Mat& bg, const cv::Mat& beta) {  // equation (2)
  return beta.mul(fg) + (1 - beta).mul(1 - bg);
}

cv::Mat compose(const cv::Mat& image, const cv::Mat& alpha, const cv::Scalar& colour) {
  cv::Mat share;
  cv::cvtColor(alpha, share, cv::COLOR_GRAY2BGR);
  cv::Mat subject;
  image.convertTo(subject, CV_32F);
  const cv::Mat behind(image.size(), CV_32FC3, colour);
  cv::Mat found;
  cv::Mat(share.mul(subject) + (cv::Scalar::all(1) - share).mul(behind)).convertTo(found, CV_8U);
  return found;
}

void show(const std::vector<Result>& results) {
#ifdef LFM_WINDOW
  for (const Result& result : results) {
    cv::imshow(result.name, result.picture);
  }
  cv::waitKey();
#else
  throw std::runtime_error("--show needs OpenCV's highgui, which this build does not have (" +
                           std::to_string(results.size()) + " results are written)");
#endif
}

void work(const cv::CommandLineParser& given) {
  const auto photo = given.get<std::string>("image");
  const cv::Mat image = cv::imread(photo);
  if (image.empty()) {
    throw std::runtime_error("'" + photo + "' is not a photo that OpenCV reads; give --image=FILE");
  }
  const cv::Scalar colour = parse_colour(given.get<std::string>("background"));
  const cv::Size size(given.get<int>("width"), given.get<int>("height"));
  if (!given.check() || size.empty()) {
    throw std::runtime_error("--width and --height are not numbers of pixels; use e.g. 960 and 640");
  }
  const std::vector<cv::Mat> planes = run(given.get<std::string>("model"), image, size);
  const cv::Mat alpha = blend(planes[0], planes[1], planes[2]);
  const std::vector<Result> results = {{"fg", levels(planes[0], CV_8U)},
                                       {"bg", levels(planes[1], CV_8U)},
                                       {"beta", levels(planes[2], CV_8U)},
                                       {"alpha", levels(alpha, CV_16U)},
                                       {"composite", compose(image, alpha, colour)}};
  const fs::path out = given.get<std::string>("out");
  fs::create_directories(out);
  for (const Result& result : results) {
    const std::string file = (out / (std::string(result.name) + ".png")).string();
    if (!cv::imwrite(file, result.picture)) {
      throw std::runtime_error(file + " cannot be written");
    }
  }
  if (given.has("show")) {
    show(results);
  }
}

}  // namespace

int main(int count, char** words) {
  const cv::CommandLineParser given(count, words, OPTIONS);
  if (given.has("help")) {
    given.printMessage();
    return 0;
  }
  try {
    work(given);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
