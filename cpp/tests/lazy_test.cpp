#include "lazy.hpp"

#include "check.hpp"

namespace latefusion {
namespace {

constexpr Reach REACH = {4, 6};

// A blend that differs at each pixel.
cv::Mat1f whole_blend(cv::Size size) {
  cv::Mat1f blend(size);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      blend(y, x) = static_cast<float>((3 * x + 7 * y) % 101) / 100;
    }
  }
  return blend;
}

struct Calls {
  int inside = 0, border = 0;
};

// Crops of the blend whose outermost pixels are wrong, but at the image's border.
Fusion cropped(const cv::Mat1f& blend, Calls& calls) {
  return [&blend, &calls](const cv::Rect& part, bool at_border) {
    ++(at_border ? calls.border : calls.inside);
    const int reach = at_border ? REACH.border : REACH.inside;
    const int left = part.x == 0 ? 0 : reach, top = part.y == 0 ? 0 : reach;
    const int right = part.br().x == blend.cols ? 0 : reach;
    const int bottom = part.br().y == blend.rows ? 0 : reach;
    cv::Mat1f found(part.size(), 9.0F);
    const cv::Rect good(left, top, part.width - left - right, part.height - top - bottom);
    blend(good + part.tl()).copyTo(found(good));
    return found;
  };
}

}  // namespace

TEST(lazy, with_epsilon_0_every_pixel_is_fused_and_exact) {
  const cv::Size size(352, 416);
  const cv::Mat1f fg(size, 0.75F), bg(size, 0.25F), blend = whole_blend(size);
  Calls calls;
  const Planes found = fuse_lazily(fg, bg, cropped(blend, calls), REACH, 0);
  CHECK_EQUAL(found.fused, 1.0);
  CHECK_EQUAL(cv::norm(found.blend, blend, cv::NORM_INF), 0.0);
  CHECK(calls.border > 0);
}

TEST(lazy, only_tiles_in_doubt_are_fused) {
  const cv::Size size(512, 384);
  cv::Mat1f fg(size, 0.75F), bg(size, 0.25F);
  fg(130, 200) = 0.95F;
  const cv::Mat1f blend = whole_blend(size);
  Calls calls;
  const Planes found = fuse_lazily(fg, bg, cropped(blend, calls), REACH, 1 / 255.0);
  CHECK_EQUAL(calls.inside, 1);
  CHECK_EQUAL(calls.border, 0);
  CHECK_EQUAL(found.fused, 1.0 / (16 * 12));
  CHECK_EQUAL(found.blend(130, 200), blend(130, 200));
  CHECK_EQUAL(found.blend(0, 0), 0.5F);
  CHECK_EQUAL(found.alpha(0, 0), 0.75F);
}

TEST(lazy, tiles_at_the_border_of_a_ragged_image_are_exact) {
  const cv::Size size(96, 160);
  cv::Mat1f fg(size, 0.75F), bg(size, 0.25F);
  fg(159, 95) = 0.0F;
  const cv::Mat1f blend = whole_blend(size);
  Calls calls;
  const Planes found = fuse_lazily(fg, bg, cropped(blend, calls), REACH, 1 / 255.0);
  CHECK_EQUAL(calls.border, 1);
  CHECK_EQUAL(calls.inside, 0);
  const cv::Rect tile(64, 128, 32, 32);
  CHECK_EQUAL(cv::norm(found.blend(tile), blend(tile), cv::NORM_INF), 0.0);
}

}  // namespace latefusion
