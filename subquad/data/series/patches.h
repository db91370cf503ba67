// Series as the tokens of a forecaster: scaled, cut into patches, and back.
//   standard   token = [(x - l) / s, mask]                              output = (y - l) / s
//   anchored   token = [asinh((x - a) / d), asinh((x - l) / s), mask, asinh((a - a') / d), ln d / d']
//              output = asinh((y - a) / d)
// l, s: mean and population deviation of the observed values; a: the last of them; d: mean
// |x_t - x_(t-1)|; a' and d' those of the token before. Missing values enter as 0 with mask 0.
// Standard statistics are those of the whole window, anchored ones those of what a token and the
// tokens before it show: every token is scaled as if the series ended there, so training on all of
// them trains on contexts of every length. Anchored outputs of 0 are Naive's forecast, and a series
// with a steep trend keeps its resolution near its end.
// Source: standard: Auer et al. 2025 (arXiv 2505.23719); asinh: Chronos-2, Ansari et al. 2025.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

enum class PatchEncoding : std::uint8_t { standard, anchored };

// What a forecaster reads and says; length 0: no forecaster, a model of token ids.
struct PatchSpec {
  std::int64_t length = 0;      // points of a patch, of the input and of the output
  std::int64_t context = 2048;  // points that are looked at, a multiple of the length
  // Every context counts as this long, with missing values in front of shorter ones.
  bool padded = false;
  PatchEncoding encoding = PatchEncoding::anchored;
  std::vector<double> levels = {};  // of the quantiles, ascending, 0.5 among them

  bool operator==(const PatchSpec&) const = default;
  std::int64_t features() const {
    return encoding == PatchEncoding::standard ? 2 * length : 3 * length + 2;
  }
  std::int64_t outputs() const { return length * static_cast<std::int64_t>(levels.size()); }
  std::size_t median() const;  // index of 0.5
  // Errors: invalid_argument for a value out of range.
  void check() const;
  Json to_json() const;
  static PatchSpec from_json(const Json& json);  // unknown keys are errors
};

// The nine levels of the boards, 0.1 to 0.9.
std::vector<double> nine_levels();

struct SeriesScale {
  double location = 0, deviation = 1, step = 1, anchor = 0;
};
// Of the finite values, in f64 and without overflow. All missing: 0, 1, 1, 0. Constant, which is
// decided by least = greatest: deviation = step = |location| + 1e-5. The step is at least 1e-3 of
// the deviation.
SeriesScale scale_of(std::span<const double> values);

// Tokens of whole patches and the scale of each: values (T length), hidden (T, or empty) != 0:
// enters as missing, tokens (T features), scales (T). Standard statistics are of hidden patches,
// too; anchored ones are not.
void encode_patches(const PatchSpec& spec, std::span<const double> values,
                    std::span<const std::uint8_t> hidden, std::span<float> tokens,
                    std::span<SeriesScale> scales);
// One value of an output, and its inverse. Monotone in y, so quantiles keep their meaning.
double encode_value(const PatchSpec& spec, const SeriesScale& scale, double y);
double decode_value(const PatchSpec& spec, const SeriesScale& scale, double output);

// The last `spec.context` values, from the first observed one on unless padded, with infinities
// missing, and missing values in front so that whole patches end with the last value.
std::vector<double> context_of(const PatchSpec& spec, std::span<const double> values);

}  // namespace subquad
