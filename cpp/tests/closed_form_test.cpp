#include "closed_form.hpp"

#include "check.hpp"

namespace latefusion {
namespace {

// Red to the left of a slanted edge and blue to the right, and an alpha that is blurred there.
struct Edge {
  cv::Mat3b image;
  cv::Mat1f alpha, sharp;
};

Edge slanted_edge(cv::Size size) {
  Edge made = {cv::Mat3b(size), cv::Mat1f(size), cv::Mat1f(size)};
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const float off = static_cast<float>(size.width) / 3 + static_cast<float>(y) / 5 -
                        static_cast<float>(x);
      const float share = std::min(std::max(off / 2 + 0.5F, 0.0F), 1.0F);
      made.sharp(y, x) = share;
      made.alpha(y, x) = std::min(std::max(off / 12 + 0.5F, 0.0F), 1.0F);
      const cv::Vec3f mixed = cv::Vec3f(30, 40, 220) * share + cv::Vec3f(200, 60, 20) * (1 - share);
      made.image(y, x) = cv::Vec3b(mixed);
    }
  }
  return made;
}

}  // namespace

TEST(closed_form, a_blurred_outline_follows_the_colours) {
  const Edge edge = slanted_edge({120, 80});
  const cv::Mat1f found = refine(edge.image, edge.alpha, 1.0);
  const double before = cv::mean(cv::abs(edge.alpha - edge.sharp))[0];
  const double after = cv::mean(cv::abs(found - edge.sharp))[0];
  CHECK(after < 0.5 * before);
}

TEST(closed_form, what_is_sure_stays_as_it_is) {
  const Edge edge = slanted_edge({120, 80});
  const cv::Mat1f found = refine(edge.image, edge.alpha, 0.4);
  CHECK_EQUAL(found.size(), edge.alpha.size());
  CHECK_NEAR(found(40, 5), 1.0F);
  CHECK_NEAR(found(40, 115), 0.0F);
}

TEST(closed_form, an_even_haze_and_a_photo_of_two_pixels_stay_as_they_are) {
  const cv::Mat3b image(50, 70, cv::Vec3b(9, 80, 200));
  const cv::Mat1f haze(50, 70, 0.4F);
  CHECK_EQUAL(cv::norm(refine(image, haze, 0.7), haze, cv::NORM_INF), 0.0);
  const cv::Mat3b tiny(1, 2, cv::Vec3b(9, 80, 200));
  cv::Mat1f half(1, 2, 0.2F);
  half(0, 1) = 0.8F;
  CHECK_EQUAL(cv::norm(refine(tiny, half, 1.0), half, cv::NORM_INF), 0.0);
}

}  // namespace latefusion
