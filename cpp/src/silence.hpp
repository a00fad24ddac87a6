// What libraries write on stderr by themselves, kept from the user, who gets one line from us.
#pragma once

namespace latefusion {

// While one lives, nothing reaches stderr. For the whole process, so for the program only.
class Silence {
 public:
  Silence();
  ~Silence();
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  int stderr_;  // a copy of the descriptor, -1 where there is none
};

// OpenCV's own messages, for good; its exceptions say the same.
void silence_opencv();

}  // namespace latefusion
