#include "subquad/data/series/patches.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace subquad {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kLargestOutput = 700;  // sinh() is finite up to here
constexpr const char* kEncodings[] = {"standard", "anchored"};

// (x - location) / scale, also where the difference overflows.
double scaled(double x, double location, double scale) {
  const double difference = x - location;
  return std::isfinite(difference) ? difference / scale : x / scale - location / scale;
}

}  // namespace

std::vector<double> nine_levels() { return {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}; }

std::size_t PatchSpec::median() const {
  return static_cast<std::size_t>(std::find(levels.begin(), levels.end(), 0.5) - levels.begin());
}

void PatchSpec::check() const {
  require(length >= 1 && length <= 4096, ErrorCode::invalid_argument, "patch length ", length,
          ", wanted 1 to 4096");
  require(context >= length && context <= (1 << 22) && context % length == 0,
          ErrorCode::invalid_argument, "context of ", context,
          " points, wanted a multiple of the patch length, ", length, ", up to ", 1 << 22);
  require(levels.size() >= 2 && levels.size() <= 999 && median() < levels.size(),
          ErrorCode::invalid_argument, levels.size(),
          " quantile levels, wanted 2 to 999 with 0.5 among them");
  for (std::size_t i = 0; i < levels.size(); ++i) {
    require(levels[i] > (i ? levels[i - 1] : 0) && levels[i] < 1, ErrorCode::invalid_argument,
            "quantile level ", levels[i], ", wanted ascending ones inside (0, 1)");
  }
}

Json PatchSpec::to_json() const {
  Json j = Json::object();
  j["length"] = length;
  j["context"] = context;
  j["padded"] = padded;
  j["encoding"] = kEncodings[static_cast<int>(encoding)];
  j["levels"] = Json(Json::Array(levels.begin(), levels.end()));
  return j;
}

PatchSpec PatchSpec::from_json(const Json& json) {
  const std::vector<std::string> known = {"length", "context", "padded", "encoding", "levels"};
  for (const auto& [key, value] : json.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    fail(ErrorCode::invalid_argument, "unknown key \"", key, "\" of patches",
         near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
  PatchSpec s;
  s.length = json.at("length").as_int();
  if (s.length == 0) return s;
  s.context = json.at("context").as_int();
  s.padded = json.get("padded", false);
  const std::string encoding = json.get("encoding", kEncodings[1]);
  require(encoding == kEncodings[0] || encoding == kEncodings[1], ErrorCode::invalid_argument,
          "patches encoding \"", encoding, "\", wanted ", kEncodings[0], " or ", kEncodings[1]);
  s.encoding = encoding == kEncodings[0] ? PatchEncoding::standard : PatchEncoding::anchored;
  for (const Json& level : json.at("levels").as_array()) s.levels.push_back(level.as_double());
  s.check();
  return s;
}

namespace {

// Statistics that grow value by value. Values come over a power of two, which is exact: nothing
// overflows, and tiny values do not vanish.
class RunningScale {
 public:
  explicit RunningScale(std::span<const double> values) {
    double most = 0;
    for (const double x : values) most = std::isfinite(x) ? std::max(most, std::abs(x)) : most;
    exponent_ = most > 0 ? std::ilogb(most) : 0;
  }

  void add(double value) {
    if (!std::isfinite(value)) return;
    const double x = std::scalbn(value, -exponent_);
    low_ = std::min(low_, x);
    high_ = std::max(high_, x);
    if (count_ > 0) steps_ += std::abs(x - last_);
    ++count_;
    const double off = x - mean_;
    mean_ += off / count_;
    squares_ += off * (x - mean_);
    last_ = x;
  }

  SeriesScale scale() const {
    if (count_ == 0) return {};
    const double anchor = std::scalbn(last_, exponent_);
    if (low_ == high_) return {anchor, std::abs(anchor) + 1e-5, std::abs(anchor) + 1e-5, anchor};
    constexpr double kLargest = std::numeric_limits<double>::max() / 8;
    SeriesScale s{std::scalbn(mean_, exponent_),
                  std::min(std::scalbn(std::sqrt(squares_ / count_), exponent_), kLargest),
                  std::scalbn(steps_ / (count_ - 1), exponent_), anchor};
    if (!(s.deviation > 0)) s.deviation = std::abs(anchor) + 1e-5;  // below the smallest number
    s.step = std::clamp(s.step, std::min(1e-3 * s.deviation, kLargest), kLargest);
    if (!(s.step > 0)) s.step = s.deviation;
    return s;
  }

 private:
  int exponent_ = 0;
  double count_ = 0, mean_ = 0, squares_ = 0, steps_ = 0, last_ = 0;
  double low_ = HUGE_VAL, high_ = -HUGE_VAL;
};

// The token of an observed or partly missing patch; `before`: the scale of the token before it.
void encode_token(const PatchSpec& spec, std::span<const double> patch, const SeriesScale& s,
                  const SeriesScale* before, float* token) {
  const std::int64_t P = spec.length;
  const bool anchored = spec.encoding == PatchEncoding::anchored;
  for (std::int64_t i = 0; i < P; ++i) {
    const double x = patch[static_cast<std::size_t>(i)];
    if (!std::isfinite(x)) continue;
    token[i] = static_cast<float>(encode_value(spec, s, x));
    if (anchored) token[P + i] = static_cast<float>(std::asinh(scaled(x, s.location, s.deviation)));
    token[(anchored ? 2 : 1) * P + i] = 1;
  }
  if (!anchored || !before) return;
  constexpr double kMost = 5;
  token[3 * P] = static_cast<float>(std::asinh(scaled(s.anchor, before->anchor, s.step)));
  token[3 * P + 1] = static_cast<float>(std::clamp(std::log(s.step / before->step), -kMost, kMost));
}

}  // namespace

SeriesScale scale_of(std::span<const double> values) {
  RunningScale running(values);
  for (const double x : values) running.add(x);
  return running.scale();
}

double encode_value(const PatchSpec& spec, const SeriesScale& s, double y) {
  return spec.encoding == PatchEncoding::standard ? scaled(y, s.location, s.deviation)
                                                  : std::asinh(scaled(y, s.anchor, s.step));
}

double decode_value(const PatchSpec& spec, const SeriesScale& s, double output) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  const double y =
      spec.encoding == PatchEncoding::standard
          ? output * s.deviation + s.location
          : s.anchor + s.step * std::sinh(std::clamp(output, -kLargestOutput, kLargestOutput));
  return std::clamp(y, -kLargest, kLargest);
}

void encode_patches(const PatchSpec& spec, std::span<const double> values,
                    std::span<const std::uint8_t> hidden, std::span<float> tokens,
                    std::span<SeriesScale> scales) {
  const auto P = static_cast<std::size_t>(spec.length),
             F = static_cast<std::size_t>(spec.features());
  const bool anchored = spec.encoding == PatchEncoding::anchored;
  RunningScale running(values);
  for (std::size_t i = 0; !anchored && i < values.size(); ++i) running.add(values[i]);
  std::fill(tokens.begin(), tokens.end(), 0.0F);
  bool seen = false;
  for (std::size_t t = 0; t < scales.size(); ++t) {
    const auto patch = values.subspan(t * P, P);
    const bool shown =
        (hidden.empty() || hidden[t] == 0) &&
        std::any_of(patch.begin(), patch.end(), [](double x) { return std::isfinite(x); });
    for (std::size_t i = 0; anchored && shown && i < P; ++i) running.add(patch[i]);
    scales[t] = running.scale();
    if (!shown) continue;
    encode_token(spec, patch, scales[t], seen ? &scales[t - 1] : nullptr, tokens.data() + t * F);
    seen = true;
  }
}

std::vector<double> context_of(const PatchSpec& spec, std::span<const double> values) {
  const auto most = static_cast<std::size_t>(spec.context),
             P = static_cast<std::size_t>(spec.length);
  if (values.size() > most) values = values.last(most);
  while (!spec.padded && !values.empty() && !std::isfinite(values[0])) values = values.subspan(1);
  const std::size_t size =
      spec.padded ? most : std::max<std::size_t>(1, (values.size() + P - 1) / P) * P;
  std::vector<double> out(size, kMissing);
  std::transform(values.begin(), values.end(),
                 out.end() - static_cast<std::ptrdiff_t>(values.size()),
                 [](double x) { return std::isfinite(x) ? x : kMissing; });
  return out;
}

}  // namespace subquad
