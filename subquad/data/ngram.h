// An interpolated byte n-gram of order 5 (Witten-Bell): the yardstick that every trained model has
// to beat.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace subquad {

// P(c | h) = (N(hc) + D(h) P(c | h')) / (N(h) + D(h)), D(h) the number of different bytes seen
// after h, h' the context without its oldest byte; the empty context falls back to 1/256. Source:
// Witten and Bell 1991.
class ByteNgram {
 public:
  static constexpr int kOrder = 5;  // bytes of context + 1
  explicit ByteNgram(std::span<const std::uint8_t> text);

  // Probability of `next` after `context` (its last four bytes count).
  double probability(std::span<const std::uint8_t> context, std::uint8_t next) const;
  std::int64_t contexts() const;

 private:
  struct Context {
    std::uint32_t total = 0, different = 0;
  };
  // Keys: order in the top byte, then the bytes.
  std::array<std::unordered_map<std::uint64_t, std::uint32_t>, kOrder>
      counts_;  // of context + byte
  std::array<std::unordered_map<std::uint64_t, Context>, kOrder> contexts_;
};

}  // namespace subquad
