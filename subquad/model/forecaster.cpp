#include "subquad/model/forecaster.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "subquad/data/series/metrics.h"

namespace subquad {
namespace {

constexpr std::int64_t kRows = 64;    // series of a batch
constexpr std::int64_t kTokens = 64;  // of one call of the model: bounds memory
constexpr std::int64_t kLongest = 1 << 20;
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// Positions first .. of features (B,T,D).
Tensor from_position(Context& cx, const Tensor& x, std::int64_t first) {
  if (first == 0) return x;
  const std::int64_t B = x.shape()[0], T = x.shape()[1], D = x.shape()[2];
  const Tensor out = cx.empty({B, T - first, D});
  with_scalar(cx.dtype(), [&]<class T_>() {
    for (std::int64_t b = 0; b < B; ++b)
      std::copy_n(x.data<T_>() + (b * T + first) * D, (T - first) * D,
                  out.data<T_>() + b * (T - first) * D);
  });
  return out;
}

}  // namespace

struct Forecaster::Row {
  std::vector<double> context;  // whole patches
  std::int64_t skipped = 0;     // leading patches that are padding
  SeriesScale scale;            // of the last token, and of those without values behind it
  QuantileForecast forecast;    // [level], growing by patches

  std::int64_t tokens(const PatchSpec& p) const {
    return static_cast<std::int64_t>(context.size()) / p.length - skipped;
  }
  // The window of a pass: after its context has changed.
  void prepare(const PatchSpec& p) {
    const auto P = static_cast<std::size_t>(p.length);
    skipped = 0;
    const auto first =
        std::find_if(context.begin(), context.end(), [](double x) { return std::isfinite(x); }) -
        context.begin();
    const std::size_t last = context.size() / P - 1;
    if (p.padded)
      skipped = static_cast<std::int64_t>(std::min(static_cast<std::size_t>(first) / P, last));
  }
};

Forecaster::Forecaster(Engine& engine, const Model& model, ParameterStore& store)
    : engine_(engine), model_(model), store_(store) {
  require(model.config().forecasts(), ErrorCode::invalid_argument,
          "this is a model of token ids, wanted a forecaster: one with patches");
}

std::vector<QuantileForecast> Forecaster::forecast(std::span<const std::span<const double>> series,
                                                   const RolloutSetup& setup) {
  require(setup.horizon >= 1 && setup.horizon <= kLongest, ErrorCode::invalid_argument,
          "horizon of ", setup.horizon, " steps, wanted 1 to ", kLongest);
  require(setup.patches_per_pass >= 0, ErrorCode::invalid_argument, "patches per pass ",
          setup.patches_per_pass, ", wanted 0 (all) or more");
  const PatchSpec& p = patches();
  std::vector<Row> rows(series.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].context = context_of(p, series[i]);
    rows[i].forecast.resize(p.levels.size());
  }
  std::int64_t left = (setup.horizon + p.length - 1) / p.length;
  while (left > 0) {
    const std::int64_t n =
        setup.patches_per_pass > 0 ? std::min(setup.patches_per_pass, left) : left;
    // Rows of one shape go together: nothing is padded for the sake of a batch.
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> shapes;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i].prepare(p);
      shapes[{rows[i].tokens(p), rows[i].skipped}].push_back(i);
    }
    for (const auto& [shape, members] : shapes) {
      for (std::size_t from = 0; from < members.size(); from += kRows)
        pass(rows,
             std::span(members).subspan(from, std::min<std::size_t>(kRows, members.size() - from)),
             n);
    }
    left -= n;
    for (Row& row : rows) {
      if (left == 0) break;
      std::vector<double>& x = row.context;
      x.insert(x.end(), static_cast<std::size_t>(n * p.length), kMissing);
      x = context_of(p, x);
    }
  }
  std::vector<QuantileForecast> out;
  for (Row& row : rows) {
    for (auto& q : row.forecast) q.resize(static_cast<std::size_t>(setup.horizon));
    std::vector<double> step(p.levels.size());
    for (std::size_t i = 0; setup.sorted && i < static_cast<std::size_t>(setup.horizon); ++i) {
      for (std::size_t q = 0; q < step.size(); ++q) step[q] = row.forecast[q][i];
      std::sort(step.begin(), step.end());
      for (std::size_t q = 0; q < step.size(); ++q) row.forecast[q][i] = step[q];
    }
    out.push_back(std::move(row.forecast));
  }
  return out;
}

ModelState Forecaster::start(std::int64_t batch, std::int64_t skipped) {
  if (skipped == 0) return model_.new_state(batch, store_.dtype());
  Context cx = engine_.context(store_);
  const Tensor missing = Tensor::zeros({1, 1, patches().features()}, DType::f32);
  while (static_cast<std::int64_t>(padding_.size()) < skipped) {
    ModelState next = padding_.empty() ? model_.new_state(1, cx.dtype()) : padding_.back();
    model_.features(cx, missing, {}, &next);
    padding_.push_back(std::move(next));
  }
  const std::vector<std::int64_t> copies(static_cast<std::size_t>(batch), 0);
  ModelState state;
  for (const State& s : padding_[static_cast<std::size_t>(skipped - 1)])
    state.push_back(s.select(copies));
  return state;
}

void Forecaster::pass(std::vector<Row>& rows, std::span<const std::size_t> batch,
                      std::int64_t patches) {
  const PatchSpec& p = this->patches();
  Context cx = engine_.context(store_);
  const auto B = static_cast<std::int64_t>(batch.size());
  const std::int64_t known = rows[batch[0]].tokens(p), all = known + patches - 1, F = p.features(),
                     skipped = rows[batch[0]].skipped;
  std::vector<float> tokens(static_cast<std::size_t>(B * known * F));
  for (std::int64_t b = 0; b < B; ++b) {
    Row& row = rows[batch[static_cast<std::size_t>(b)]];
    std::vector<SeriesScale> scales(static_cast<std::size_t>(known));
    encode_patches(p, std::span(row.context).subspan(static_cast<std::size_t>(skipped * p.length)),
                   {},
                   std::span(tokens).subspan(static_cast<std::size_t>(b * known * F),
                                             static_cast<std::size_t>(known * F)),
                   scales);
    row.scale = scales.back();
  }
  ModelState state = start(B, skipped);
  for (std::int64_t first = 0; first < all; first += kTokens) {
    const std::int64_t count = std::min(kTokens, all - first),
                       here = std::clamp<std::int64_t>(known - first, 0, count);
    const Tensor chunk = Tensor::zeros({B, count, F}, DType::f32);
    for (std::int64_t b = 0; b < B && here > 0; ++b)
      std::copy_n(tokens.data() + (b * known + first) * F, here * F,
                  chunk.data<float>() + b * count * F);
    const Tensor features = model_.features(cx, chunk, {}, &state).value;
    const std::int64_t unused = std::clamp<std::int64_t>(known - 1 - first, 0, count);
    if (unused == count) continue;
    const Tensor out = model_.head(cx, {from_position(cx, features, unused)}).value;
    with_scalar(cx.dtype(), [&]<class T>() {
      const T* value = out.data<T>();
      for (std::int64_t b = 0; b < B; ++b) {
        Row& row = rows[batch[static_cast<std::size_t>(b)]];
        for (std::int64_t t = unused; t < count; ++t) {
          for (auto& q : row.forecast) {
            for (std::int64_t i = 0; i < p.length; ++i, ++value)
              q.push_back(decode_value(p, row.scale, static_cast<double>(*value)));
          }
        }
      }
    });
  }
  for (const std::size_t i : batch) {
    for (const auto& q : rows[i].forecast)
      require(std::isfinite(q.back()), ErrorCode::numeric,
              "the model's forecast is not a number: its weights are damaged or diverged");
  }
}

namespace {

// Why these quantiles are not to be believed; empty: they are.
std::string fault_of(const QuantileForecast& q, double low, double high, std::int64_t observed) {
  const double range = high - low;
  for (const auto& level : q) {
    for (std::size_t h = 0; h < level.size(); ++h) {
      const double most =
          10 * (1 + static_cast<double>(h + 1) / static_cast<double>(observed)) * range;
      if (!(level[h] >= low - most && level[h] <= high + most))
        return "it left the range of the series";
    }
  }
  return {};
}

// Whether the context of the last pass still holds a value.
bool sees_values(const PatchSpec& p, std::span<const double> series, std::int64_t horizon,
                 std::int64_t patches_per_pass) {
  const std::int64_t patches = (horizon + p.length - 1) / p.length,
                     moved = patches_per_pass > 0
                                 ? (patches - 1) / patches_per_pass * patches_per_pass * p.length
                                 : 0;
  const auto most = static_cast<std::size_t>(std::max<std::int64_t>(p.context - moved, 0));
  const auto last = series.last(std::min(series.size(), most));
  return std::any_of(last.begin(), last.end(), [](double x) { return std::isfinite(x); });
}

}  // namespace

std::vector<Forecast> guarded_forecasts(Forecaster& forecaster,
                                        std::span<const std::span<const double>> series,
                                        std::span<const std::int64_t> seasons,
                                        const ForecastSetup& setup, std::int64_t patches_per_pass) {
  const auto all =
      forecaster.forecast(series, {.horizon = setup.horizon, .patches_per_pass = patches_per_pass});
  const PatchSpec& p = forecaster.patches();
  std::vector<Forecast> out;
  for (std::size_t i = 0; i < series.size(); ++i) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    std::int64_t observed = 0;
    for (const double x : series[i]) {
      if (!std::isfinite(x)) continue;
      low = std::min(low, x);
      high = std::max(high, x);
      ++observed;
    }
    std::string fault;
    if (observed >= 2 && low < high) {
      fault = sees_values(p, series[i], setup.horizon, patches_per_pass)
                  ? fault_of(all[i], low, high, observed)
                  : "its context of " + std::to_string(p.context) + " steps held no value";
    }
    if (observed < 2 || low == high || !fault.empty()) {
      ForecastSetup own = setup;
      own.season = seasons[i];
      out.push_back(run_baseline(baseline_named("seasonal_naive"), series[i], own));
      out.back().fallback = fault;
      continue;
    }
    Forecast f{all[i][p.median()], {}, {}, {}};
    for (const double level : setup.levels) {
      std::vector<double>& to = f.quantiles.emplace_back();
      std::vector<double> step(p.levels.size());
      for (std::size_t h = 0; h < f.mean.size(); ++h) {
        for (std::size_t q = 0; q < step.size(); ++q) step[q] = all[i][q][h];
        to.push_back(quantile_at(level, p.levels, step));
      }
    }
    out.push_back(std::move(f));
  }
  return out;
}

}  // namespace subquad
