// Photo -> Matte, in the order of src/latefusion/inference/predictor.py.
#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "bytes.hpp"
#include "closed_form.hpp"
#include "closeup.hpp"
#include "detail.hpp"
#include "latefusion/matting.hpp"
#include "network.hpp"
#include "planes.hpp"

namespace latefusion {

struct Matte::Views {
  Letterbox frame;
  Planes planes;
  std::vector<Detail> details;

  cv::Mat restore(cv::Mat1f Planes::*plane) const {
    cv::Mat1f whole = frame.restore(planes.*plane);
    for (const Detail& detail : details) {
      detail.paste(whole, detail.planes.*plane);
    }
    return whole;
  }
};

cv::Mat Matte::fg() const { return views_ ? views_->restore(&Planes::fg) : cv::Mat(); }

cv::Mat Matte::bg() const { return views_ ? views_->restore(&Planes::bg) : cv::Mat(); }

cv::Mat Matte::blend() const { return views_ ? views_->restore(&Planes::blend) : cv::Mat(); }

struct Predictor::State {
  std::shared_ptr<const Model> model;
  Options options;
  Network network;

  State(std::shared_ptr<const Model> given, const Options& asked)
      : model(std::move(given)), options(asked), network(*model, options) {}

  // A closer look at a small subject, and alpha with it; none if the two looks contradict.
  std::optional<Detail> look_closer(const cv::Mat& image, const Letterbox& frame,
                                    const Planes& planes, cv::Mat1f& alpha, double& milliseconds) {
    const std::optional<cv::Rect> box = closer_box(planes.alpha, frame);
    if (!box) {
      return std::nullopt;
    }
    const cv::Mat part = image(*box).clone();
    const Letterbox closer = network.frame(part.size());
    const Detail detail = {*box, closer, network.run(closer.fit(part), milliseconds)};
    cv::Mat1f changed = alpha.clone();
    detail.paste(changed, detail.planes.alpha);
    if (contradict(alpha(*box), changed(*box))) {
      return std::nullopt;
    }
    alpha = changed;
    return detail;
  }

  Matte find(const cv::Mat& image) {
    Matte found;
    Matte::Views views;
    views.frame = network.frame(image.size());
    views.planes = network.run(views.frame.fit(image), found.milliseconds);
    cv::Mat1f alpha = views.frame.restore(views.planes.alpha);
    double seen = views.frame.scale();
    found.fused = views.planes.fused;
    if (options.framing == Framing::automatic) {
      const auto detail = look_closer(image, views.frame, views.planes, alpha, found.milliseconds);
      if (detail) {
        views.details.push_back(*detail);
        seen = std::max(seen, detail->frame.scale());
        found.fused = (found.fused + detail->planes.fused) / 2;
      }
    }
    if (options.refine == Refine::closed_form) {
      alpha = refine(image, alpha, seen);
    }
    found.alpha = alpha;
    found.views_ = std::make_shared<const Matte::Views>(std::move(views));
    return found;
  }
};

Predictor::Predictor(const std::filesystem::path& model, const Options& options)
    : Predictor(read_model(model), options) {}

Predictor::Predictor(Model model, const Options& options)
    : state_(std::make_unique<State>(std::make_shared<const Model>(std::move(model)), options)) {}

Predictor::Predictor(const Predictor& other)
    : state_(std::make_unique<State>(other.state_->model, other.state_->options)) {}

Predictor::Predictor(Predictor&& other) noexcept = default;

Predictor& Predictor::operator=(Predictor other) noexcept {
  state_.swap(other.state_);
  return *this;
}

Predictor::~Predictor() = default;

const Options& Predictor::options() const noexcept { return state_->options; }

Matte Predictor::matte(const cv::Mat& image) {
  check_image(image, "image");
  try {
    return state_->find(image);
  } catch (const std::bad_alloc&) {
    throw Error(Code::memory, NO_MEMORY);
  } catch (const cv::Exception& error) {
    if (is_of_memory(error)) {
      throw Error(Code::memory, NO_MEMORY);
    }
    throw;
  }
}

std::vector<Matte> Predictor::mattes(const std::vector<cv::Mat>& images) {
  std::vector<Matte> found;
  for (const cv::Mat& image : images) {
    try {
      found.push_back(matte(image));
    } catch (const Error& error) {
      throw Error(error.code(), "image " + std::to_string(found.size()) + ": " + error.what());
    }
  }
  return found;
}

}  // namespace latefusion
