// Consecutive random numbers of one series, with the distributions that generators need.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "subquad/base/rng.h"

namespace subquad {

class Draws {
 public:
  Draws(std::uint64_t seed, std::uint64_t stream, std::uint64_t index)
      : rng_{seed, stream}, index_(index) {}

  std::uint64_t bits();
  double uniform();  // [0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  double log_uniform(double low, double high);  // 0 < low <= high
  bool chance(double probability) { return uniform() < probability; }
  std::int64_t between(std::int64_t low, std::int64_t high);  // both included
  std::size_t below(std::size_t n);
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[below(values.size())];
  }
  // An index, with probability proportional to its weight.
  std::size_t weighted(std::span<const double> weights);

  double normal();
  double exponential();               // mean 1
  double gamma(double shape);         // scale 1, shape > 0; Marsaglia and Tsang 2000
  std::int64_t poisson(double mean);  // mean in [0, 1e6]; above 30 the rounded normal
  double student(double degrees);     // scaled to variance 1 if degrees > 2
  std::vector<double> dirichlet(std::size_t count, double alpha);

 private:
  Rng rng_;
  std::uint64_t index_, element_ = 0;
  std::array<std::uint32_t, 4> words_{};
  int left_ = 0;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace subquad
