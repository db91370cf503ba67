// Changes to whole series, and mixtures of them. Inputs are finite.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/draws.h"

namespace subquad {

// y_t a_t, with a linear between `amplitudes` at step 0, at the change points (ascending) and at the
// last step: two more than change points.
void modulate_amplitude(std::span<double> y, std::span<const std::size_t> change_points,
                        std::span<const double> amplitudes);
// max(y, c) if keep_above, else min(y, c); c the q-quantile of y, linear between order statistics.
void censor(std::span<double> y, double q, bool keep_above);

enum class MixScaling : std::uint8_t { mean_absolute, z_score };
// sum_i weights_i scaled(x_i), series of equal length. A series of zeros, or a constant one under
// z_score, counts as zero.
std::vector<double> mix(std::span<const std::vector<double>> series,
                        std::span<const double> weights, MixScaling scaling);

// Draws which changes happen and applies them in the order of AugmentationRates. Afterwards at least
// two values are observed; NaN: missing.
void augment(Draws& draws, const AugmentationRates& rates, std::span<double> y);

}  // namespace subquad
