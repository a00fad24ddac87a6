#include "window.hpp"

#include "latefusion/matting.hpp"
#include "silence.hpp"

#ifdef LATEFUSION_WINDOW
#include <opencv2/highgui.hpp>
#endif
#ifdef __linux__
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace latefusion {
#ifdef LATEFUSION_WINDOW
namespace {

constexpr int POLL = 100;  // milliseconds between two looks at whether the window is still there

#ifdef __linux__
// GTK and Qt end the whole process where there is no display, so a child tries first.
bool window_opens() {
  const pid_t child = fork();
  if (child == 0) {
    const Silence silence;
    try {
      cv::namedWindow("latefusion");
      _exit(0);
    } catch (const cv::Exception&) {
      _exit(1);
    }
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}
#else
bool window_opens() { return true; }
#endif

}  // namespace

void check_window() {
  if (!window_opens()) {
    throw Error(Code::argument, "--show finds no display; leave it off and use --save");
  }
}

void show(const cv::Mat& image, const std::string& title) {
  cv::namedWindow(title, cv::WINDOW_NORMAL | cv::WINDOW_KEEPRATIO);
  cv::imshow(title, image);
  while (cv::waitKey(POLL) < 0 && cv::getWindowProperty(title, cv::WND_PROP_VISIBLE) > 0) {
  }
}
#else
void check_window() {
  throw Error(Code::argument, "--show is not built in, for OpenCV has no highgui here; use --save");
}

void show(const cv::Mat&, const std::string&) { check_window(); }
#endif

}  // namespace latefusion
