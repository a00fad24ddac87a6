#include "framing.hpp"

#include "check.hpp"

namespace latefusion {

TEST(framing, a_letterbox_keeps_proportions_and_ends_on_multiples_of_32) {
  const Letterbox frame = letterbox({600, 800}, 512);
  CHECK_EQUAL(frame.inner.size(), cv::Size(384, 512));
  CHECK_EQUAL(frame.outer, cv::Size(384, 512));
  const Letterbox narrow = letterbox({40, 1000}, 512);
  CHECK_EQUAL(narrow.inner.size(), cv::Size(20, 512));
  CHECK_EQUAL(narrow.outer, cv::Size(32, 512));
  CHECK_EQUAL(narrow.inner.tl(), cv::Point(6, 0));
}

TEST(framing, a_photo_lies_in_the_middle_of_a_fixed_input) {
  const Letterbox frame = into({600, 800}, {512, 512});
  CHECK_EQUAL(frame.inner, cv::Rect(64, 0, 384, 512));
  CHECK_EQUAL(frame.scale(), 0.64);
}

TEST(framing, padding_repeats_the_edge) {
  const cv::Mat red(10, 60, CV_8UC3, cv::Scalar(0, 0, 200));
  const cv::Mat input = letterbox(red.size(), 64).fit(red);
  CHECK_EQUAL(input.size(), cv::Size(64, 32));
  const cv::Mat expected(32, 64, CV_32FC3, cv::Scalar(0, 0, 200));
  CHECK(cv::norm(input, expected, cv::NORM_INF) < 1e-3);
}

TEST(framing, a_restored_plane_has_the_photos_size_and_stays_in_range) {
  const Letterbox frame = letterbox({300, 100}, 96);
  cv::Mat1f plane(frame.outer, 0.0F);
  plane(cv::Rect(0, 0, 40, plane.rows)) = 1.0F;
  const cv::Mat1f restored = frame.restore(plane);
  CHECK_EQUAL(restored.size(), cv::Size(300, 100));
  double least = 0, most = 0;
  cv::minMaxLoc(restored, &least, &most);
  CHECK_EQUAL(least, 0.0);
  CHECK_NEAR(most, 1.0);
}

TEST(framing, each_scale_at_most_doubles_the_one_before) {
  const std::vector<double> found = scales(0.2, 1.0);
  CHECK_EQUAL(found.size(), size_t{3});
  CHECK(std::abs(found[0] / 0.2 - found[2] / found[1]) < 1e-9);
  CHECK(std::abs(found[2] - 1) < 1e-12);
  CHECK_EQUAL(scales(1.0, 1.0).size(), size_t{1});
}

TEST(framing, cuts_cover_a_length_and_share_pixels) {
  const auto found = cuts(2500, 1200, 32);
  CHECK_EQUAL(found.size(), size_t{3});
  CHECK_EQUAL(found.front().first, 0);
  CHECK_EQUAL(found.back().second, 2500);
  for (size_t i = 1; i < found.size(); ++i) {
    CHECK(found[i - 1].second - found[i].first >= 32);
    CHECK(found[i].second - found[i].first <= 1200);
  }
  CHECK_EQUAL(cuts(90, 1200, 32).size(), size_t{1});
}

}  // namespace latefusion
