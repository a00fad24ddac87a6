#include "sha256.hpp"

#include <array>
#include <cstdint>

namespace latefusion {
namespace {

using Word = std::uint32_t;
using State = std::array<Word, 8>;

constexpr size_t BLOCK = 64;  // bytes

constexpr std::array<Word, 64> ROUNDS = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

Word turned(Word word, unsigned bits) { return word >> bits | word << (32 - bits); }

void add(State& state, const unsigned char* block) {
  std::array<Word, 64> w;
  for (size_t i = 0; i < 16; ++i) {
    const unsigned char* four = block + 4 * i;
    w[i] = Word{four[0]} << 24 | Word{four[1]} << 16 | Word{four[2]} << 8 | Word{four[3]};
  }
  for (size_t i = 16; i < 64; ++i) {
    const Word far = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3;
    const Word close = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + far + w[i - 7] + close;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t i = 0; i < 64; ++i) {
    const Word chosen = (e & f) ^ (~e & g), most = (a & b) ^ (a & c) ^ (b & c);
    const Word one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + ROUNDS[i] + w[i];
    const Word two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + most;
    h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
  }
  const State after = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) {
    state[i] += after[i];
  }
}

// The bytes after the last whole block, a 1 bit, zeros, and the length in bits.
Bytes ending(const Bytes& bytes) {
  const size_t rest = bytes.size() % BLOCK;
  Bytes found(bytes.end() - static_cast<std::ptrdiff_t>(rest), bytes.end());
  found.push_back(0x80);
  found.resize(rest < BLOCK - 8 ? BLOCK : 2 * BLOCK);
  std::uint64_t bits = 8 * std::uint64_t{bytes.size()};
  for (size_t i = 1; i <= 8; ++i, bits >>= 8) {
    found[found.size() - i] = static_cast<unsigned char>(bits & 0xFF);
  }
  return found;
}

}  // namespace

std::string sha256(const Bytes& bytes) {
  State state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (size_t at = 0; at + BLOCK <= bytes.size(); at += BLOCK) {
    add(state, bytes.data() + at);
  }
  const Bytes last = ending(bytes);
  for (size_t at = 0; at < last.size(); at += BLOCK) {
    add(state, last.data() + at);
  }
  std::string found;
  for (const Word word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) {
      found += "0123456789abcdef"[word >> shift & 15];
    }
  }
  return found;
}

}  // namespace latefusion
