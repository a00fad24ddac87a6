#include "closeup.hpp"

#include "check.hpp"
#include "detail.hpp"

namespace latefusion {

TEST(closeup, a_small_subject_gets_a_box_with_a_margin) {
  const Letterbox frame = letterbox({1000, 500}, 512);
  cv::Mat1f alpha(frame.outer, 0.0F);
  alpha(cv::Rect(40, 100, 50, 100)) = 1.0F;
  alpha(cv::Rect(400, 10, 10, 10)) = 1.0F;  // a speck
  const auto box = closer_box(alpha, frame);
  CHECK(box.has_value());
  // From (40 - 20) x 1000 / 512 and (100 - 20) x 500 / 256, to (90 + 20) and (200 + 20).
  CHECK_EQUAL(*box, cv::Rect(cv::Point(39, 156), cv::Point(215, 430)));
}

TEST(closeup, no_subject_and_a_large_one_get_none) {
  const Letterbox frame = letterbox({600, 600}, 64);
  cv::Mat1f alpha(frame.outer, 0.0F);
  CHECK(!closer_box(alpha, frame).has_value());
  alpha(cv::Rect(10, 5, 40, 59)) = 1.0F;
  CHECK(!closer_box(alpha, frame).has_value());
}

TEST(closeup, looks_that_swap_a_tenth_of_the_subject_contradict) {
  const cv::Mat1f before(10, 20, 1.0F);
  cv::Mat1f after = before.clone();
  after(cv::Rect(0, 0, 2, 10)) = 0.0F;
  CHECK(!contradict(before, after));
  after(0, 2) = 0.0F;
  CHECK(contradict(before, after));
}

TEST(closeup, a_detail_fades_into_the_whole_but_at_the_photos_edge) {
  const cv::Rect box(0, 50, 100, 50);
  const Letterbox frame = letterbox(box.size(), 64);
  const cv::Mat1f one(frame.outer, 1.0F);
  const Detail detail = {box, frame, {one, one, one, one, 1}};
  cv::Mat1f whole(120, 200, 0.0F);
  detail.paste(whole, one);
  CHECK_NEAR(whole(75, 0), 1.0F);  // the photo's own edge
  CHECK_NEAR(whole(75, 99), 0.5F / 8);
  CHECK_NEAR(whole(50, 50), 0.5F / 4);
  CHECK_EQUAL(whole(49, 50), 0.0F);
  CHECK_NEAR(whole(75, 50), 1.0F);
}

}  // namespace latefusion
