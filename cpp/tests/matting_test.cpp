#include "check.hpp"

namespace latefusion {

TEST(matting, blend_is_equation_2) {
  const cv::Mat1f fg(2, 3, 0.9F), bg(2, 3, 0.4F), beta(2, 3, 0.25F);
  const cv::Mat1f alpha = blend(fg, bg, beta);
  CHECK(std::abs(alpha(1, 2) - (0.25F * 0.9F + 0.75F * 0.6F)) < 1e-6F);
}

TEST(matting, a_cutout_has_the_subjects_colour_and_nothing_of_the_background) {
  cv::Mat image(60, 90, CV_8UC3, cv::Scalar(0, 0, 220));
  image(cv::Rect(45, 0, 45, 60)) = cv::Scalar(210, 30, 10);
  cv::Mat1f alpha(60, 90, 1.0F);
  alpha(cv::Rect(46, 0, 44, 60)) = 0.0F;
  for (int y = 0; y < 60; ++y) {
    alpha(y, 45) = 0.5F;
    image.at<cv::Vec3b>(y, 45) = {105, 15, 115};
  }
  const cv::Mat found = cutout(image, alpha);
  CHECK_EQUAL(found.type(), CV_8UC4);
  CHECK_EQUAL(found.at<cv::Vec4b>(30, 10), cv::Vec4b(0, 0, 220, 255));
  CHECK_EQUAL(found.at<cv::Vec4b>(30, 80), cv::Vec4b(0, 0, 0, 0));
  const cv::Vec4b soft = found.at<cv::Vec4b>(30, 45);
  CHECK_EQUAL(int{soft[3]}, 128);
  CHECK(soft[2] > 180 && soft[0] < 60);
}

TEST(matting, a_composite_on_an_image_is_cropped_to_fill) {
  const cv::Mat image(40, 60, CV_8UC3, cv::Scalar(0, 0, 220)), behind(80, 90, CV_8UC3, cv::Scalar(9, 8, 7));
  const cv::Mat found = composite(image, cv::Mat1f(40, 60, 0.0F), behind);
  CHECK_EQUAL(found.size(), image.size());
  CHECK_EQUAL(found.at<cv::Vec3b>(20, 59), cv::Vec3b(9, 8, 7));
}

TEST(matting, wrong_pixels_are_an_error_with_the_code_argument) {
  const cv::Mat image(40, 60, CV_8UC3), grey(40, 60, CV_8UC1);
  CHECK(code_of([&] { cutout(grey, cv::Mat1f(40, 60)); }) == Code::argument);
  CHECK(code_of([&] { cutout(image, cv::Mat1f(60, 40)); }) == Code::argument);
  CHECK(code_of([&] { foreground({}, cv::Mat1f(1, 1)); }) == Code::argument);
  CHECK(code_of([&] { blend(cv::Mat1f(2, 3), cv::Mat1f(3, 2), cv::Mat1f(2, 3)); }) ==
        Code::argument);
  CHECK(code_of([&] { blend(cv::Mat1f(), cv::Mat1f(), cv::Mat1f()); }) == Code::argument);
  const cv::Mat opacity = cv::Mat1f(40, 60, 1.0F), levels(40, 60, CV_8U);
  CHECK(code_of([&] { cutout(image, levels, opacity); }) == Code::argument);
  CHECK(code_of([&] { composite(image, levels, cv::Vec3b(), opacity); }) == Code::argument);
  CHECK(code_of([&] { cutout(image, opacity, levels); }) == Code::argument);
  const cv::Mat cube(std::vector<int>{40, 60, 2}, CV_8UC3), planes(std::vector<int>{40, 60, 2}, CV_32F);
  CHECK(code_of([&] { cutout(cube, opacity); }) == Code::argument);
  CHECK(code_of([&] { cutout(image, planes); }) == Code::argument);
}

}  // namespace latefusion
