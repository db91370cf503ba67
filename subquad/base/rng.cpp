#include "subquad/base/rng.h"

#include <cmath>
#include <numbers>

namespace subquad {
namespace {

constexpr std::uint64_t mix(std::uint64_t x) {  // splitmix64 finaliser
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

}  // namespace

std::array<std::uint32_t, 4> Rng::words(std::uint64_t step, std::uint64_t element) const {
  // Philox has a 64-bit key and a 128-bit counter: (seed, stream) make the key, (step, element) the
  // counter.
  const std::uint64_t key = mix(seed) ^ mix(stream + 0x632BE59BD9B4E019ULL);
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(element), static_cast<std::uint32_t>(element >> 32),
      static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

std::uint64_t Rng::bits(std::uint64_t step, std::uint64_t element) const {
  const auto w = words(step, element);
  return (std::uint64_t{w[1]} << 32) | w[0];
}

double Rng::uniform(std::uint64_t step, std::uint64_t element) const {
  return static_cast<double>(bits(step, element) >> 11) * 0x1.0p-53;
}

std::int64_t Rng::below(std::int64_t n, std::uint64_t step, std::uint64_t element) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::int64_t>(
      (static_cast<Wide>(bits(step, element)) * static_cast<std::uint64_t>(n)) >> 64);
}

double Rng::normal(std::uint64_t step, std::uint64_t element) const {
  const auto w = words(step, element);
  const std::uint64_t a = (std::uint64_t{w[1]} << 32) | w[0];
  const std::uint64_t b = (std::uint64_t{w[3]} << 32) | w[2];
  const double u = (static_cast<double>(a >> 11) + 0.5) * 0x1.0p-53;  // in (0, 1)
  const double v = static_cast<double>(b >> 11) * 0x1.0p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace subquad
