// Whether a photo's file ends before its end, which OpenCV's decoders pass over in silence.
#pragma once

#include "bytes.hpp"

namespace latefusion {

// True for a JPEG, PNG or WebP file of which a part is missing; false for other formats.
bool cut_short(const Bytes& file);

// True for a PNG in which one colour stands for transparency; OpenCV ignores that.
bool has_transparent_colour(const Bytes& file);

}  // namespace latefusion
