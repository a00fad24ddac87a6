// The checksum by which a sidecar knows its files.
#pragma once

#include <string>

#include "bytes.hpp"

namespace latefusion {

// SHA-256 (FIPS 180-4) in 64 hexadecimal digits.
std::string sha256(const Bytes& bytes);

}  // namespace latefusion
