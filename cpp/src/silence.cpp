#include "silence.hpp"

#include <cstdio>

#include <fcntl.h>

#ifdef _WIN32
#include <io.h>
#define dup _dup
#define dup2 _dup2
#define open _open
#define close _close
#else
#include <unistd.h>
#endif

#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>

namespace latefusion {
namespace {

#ifdef _WIN32
constexpr char NOWHERE[] = "NUL";
#else
constexpr char NOWHERE[] = "/dev/null";
#endif
constexpr int STDERR = 2;

}  // namespace

Silence::Silence() : stderr_(dup(STDERR)) {
  std::fflush(stderr);
  const int nowhere = open(NOWHERE, O_WRONLY);
  if (stderr_ >= 0 && nowhere >= 0) {
    dup2(nowhere, STDERR);
  }
  if (nowhere >= 0) {
    close(nowhere);
  }
}

Silence::~Silence() {
  std::fflush(stderr);
  if (stderr_ >= 0) {
    dup2(stderr_, STDERR);
    close(stderr_);
  }
}

void silence_opencv() {
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  cv::redirectError([](int, const char*, const char*, const char*, int, void*) { return 0; });
}

}  // namespace latefusion
