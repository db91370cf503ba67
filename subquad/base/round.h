// Multiples of a unit next to a number.
#pragma once

#include <cstdint>

namespace subquad {

// The largest multiple of `unit` that is at most n. Ranges: unit > 0, n of either sign.
// A power of two, which most units are at run time, costs no division.
constexpr std::int64_t round_down(std::int64_t n, std::int64_t unit) {
  if ((unit & (unit - 1)) == 0) return n & -unit;
  const std::int64_t rest = n % unit;
  return n - (rest < 0 ? rest + unit : rest);
}

// The smallest multiple of `unit` that is at least n.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return round_down(n + unit - 1, unit);
}

}  // namespace subquad
