// Counter-based random numbers: Philox4x32-10 keyed by (seed, stream, step, element).
// A number is a pure function of its four coordinates: nothing to save, nothing to replay, the same
// for every thread count. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
// 3".
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace subquad {

// 64-bit FNV-1a: turns a name ("init/block0.mixer.in_proj", "parity/test/64") into a stream number.
constexpr std::uint64_t stream_id(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

struct Rng {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  // Four independent 32-bit words.
  std::array<std::uint32_t, 4> words(std::uint64_t step, std::uint64_t element) const;
  std::uint64_t bits(std::uint64_t step, std::uint64_t element) const;
  // Uniform in [0, 1), 53 bits.
  double uniform(std::uint64_t step, std::uint64_t element) const;
  // Uniform integer in [0, n), n >= 1; bias below n * 2^-64.
  std::int64_t below(std::int64_t n, std::uint64_t step, std::uint64_t element) const;
  // Standard normal (Box-Muller).
  double normal(std::uint64_t step, std::uint64_t element) const;
};

}  // namespace subquad
