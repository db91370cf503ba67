// Classical seasonal decomposition, for methods that forecast the rest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace subquad {

// The mean of m values around t, for an even m of m + 1 with the outer two counting half.
double centred_average(std::span<const double> y, std::size_t t, std::size_t m);

// Mean square distance from the mean (divided by n).
double variance_of(std::span<const double> x);

// Seasonal figure by t mod m: the mean (of differences to, or ratios with, the centred moving
// average over m), shifted to sum 0 or scaled to mean 1. Needs 2 m values.
std::vector<double> seasonal_figure(std::span<const double> y, std::int64_t season,
                                    bool multiplicative);

// Whether the autocorrelation r at lag m is significant at 10 %:
//   |r_m| > 1.645 sqrt((1 + 2 sum_{k<m} r_k^2) / T), for m >= 4 and T >= 2 m.
// Source: Assimakopoulos and Nikolopoulos 2000, as the M competitions use it.
bool is_seasonal(std::span<const double> y, std::int64_t season);

// A series without its season, and the way back.
struct Deseasonalised {
  std::vector<double> y;       // adjusted
  std::vector<double> figure;  // of the steps after the last, by (h - 1) mod m; empty: no season
  bool multiplicative = false;
};
// Multiplicative where all values and the figure are positive, else additive; nothing if the test
// says so.
Deseasonalised deseasonalise(std::span<const double> y, std::int64_t season);

// Puts the season back into a forecast's means and deviations.
void reseasonalise(const Deseasonalised& d, std::vector<double>& mean,
                   std::vector<double>& deviation);

}  // namespace subquad
