#include "subquad/data/series/backtest.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/error.h"

namespace subquad {
namespace {

constexpr double kLevels[] = {0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975};
const std::vector<double> kScored(kLevels + 1, kLevels + 10);

struct Window {
  std::int64_t index, cut;
};
// What one series gives: forecasts by window and model.
struct SeriesForecasts {
  std::vector<Window> windows;
  std::vector<std::vector<Forecast>> forecasts;
  std::int64_t season = 1, scale_season = 1, left_out = 0;
};

bool any_finite(std::span<const double> x) {
  return std::any_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}

ForecastSetup forecast_setup(const BacktestSetup& setup, std::int64_t season) {
  return {.season = season,
          .horizon = setup.horizon,
          .levels = {std::begin(kLevels), std::end(kLevels)},
          .max_history = setup.max_history,
          .fill = setup.fill};
}

// The forecasts of models that take many series at once, of all windows of a block.
void forecast_together(std::span<const TimeSeries> series, std::vector<SeriesForecasts>& made,
                       const BacktestSetup& setup) {
  for (std::size_t m = 0; m < setup.models.size(); ++m) {
    if (!setup.models[m]->many) continue;
    std::vector<std::span<const double>> pasts;
    std::vector<std::int64_t> seasons;
    for (std::size_t i = 0; i < made.size(); ++i) {
      for (const Window& w : made[i].windows) {
        pasts.push_back(std::span(series[i].values).first(static_cast<std::size_t>(w.cut)));
        seasons.push_back(made[i].season);
      }
    }
    std::vector<Forecast> all = (*setup.models[m]->many)(pasts, seasons, forecast_setup(setup, 1));
    std::size_t next = 0;
    for (SeriesForecasts& s : made) {
      for (auto& row : s.forecasts) row[m] = std::move(all.at(next++));
    }
  }
}

SeriesForecasts forecast_windows(const TimeSeries& s, const BacktestSetup& setup) {
  SeriesForecasts out;
  out.season = setup.season > 0 ? setup.season : default_season(s.grid.frequency, true);
  out.scale_season = setup.season > 0
                         ? setup.season
                         : default_season(s.grid.frequency, setup.convention == Convention::fev);
  const auto length = static_cast<std::int64_t>(s.values.size());
  const std::span<const double> values(s.values);
  for (std::int64_t w = 0; w < setup.windows; ++w) {
    const std::int64_t cut = length - setup.horizon - (setup.windows - 1 - w) * setup.step;
    const bool fits = cut >= 1 && any_finite(values.first(static_cast<std::size_t>(cut))) &&
                      any_finite(values.subspan(static_cast<std::size_t>(cut),
                                                static_cast<std::size_t>(setup.horizon)));
    if (!fits) {
      ++out.left_out;
      continue;
    }
    out.windows.push_back({w, cut});
    auto& row = out.forecasts.emplace_back();
    for (const Baseline* model : setup.models) {
      row.push_back(model->many ? Forecast{}
                                : run_baseline(*model, values.first(static_cast<std::size_t>(cut)),
                                               forecast_setup(setup, out.season)));
    }
  }
  return out;
}

ForecastWindow window_of(const TimeSeries& s, std::int64_t cut, std::int64_t season,
                         const Forecast& f) {
  const std::span<const double> values(s.values);
  ForecastWindow w{.past = values.first(static_cast<std::size_t>(cut)),
                   .actual = values.subspan(static_cast<std::size_t>(cut), f.mean.size()),
                   .quantiles = {},
                   .mean = f.mean,
                   .season = season,
                   .low95 = f.quantiles.front(),
                   .high95 = f.quantiles.back()};
  for (std::size_t q = 1; q + 1 < f.quantiles.size(); ++q) w.quantiles.emplace_back(f.quantiles[q]);
  return w;
}

// Means over windows of what is finite in them; counts add up.
Score mean_of_windows(const std::vector<MetricSums>& windows) {
  Score out{windows.at(0).values(), {}, 0};
  std::vector<MetricValues> values;
  for (const MetricSums& w : windows) {
    if (w.counts().points == 0) continue;
    values.push_back(w.values());
    out.counts.points += w.counts().points;
    out.counts.masked_labels += w.counts().masked_labels;
    out.counts.without_scale += w.counts().without_scale;
    out.counts.zero_labels += w.counts().zero_labels;
    out.counts.zero_over_zero += w.counts().zero_over_zero;
  }
  const auto average = [&](double MetricValues::*field) {
    double sum = 0, count = 0;
    for (const MetricValues& v : values) {
      if (!std::isfinite(v.*field)) continue;
      sum += v.*field;
      ++count;
    }
    out.values.*field = count > 0 ? sum / count : std::nan("");
  };
  for (double MetricValues::*field :
       {&MetricValues::mae, &MetricValues::mse, &MetricValues::rmse, &MetricValues::nrmse,
        &MetricValues::nd, &MetricValues::mse_mean, &MetricValues::rmse_mean,
        &MetricValues::nrmse_mean, &MetricValues::mape, &MetricValues::smape, &MetricValues::mase,
        &MetricValues::msis, &MetricValues::rmsse, &MetricValues::rmsse_mean, &MetricValues::mql,
        &MetricValues::wql, &MetricValues::sql, &MetricValues::calibration, &MetricValues::inside})
    average(field);
  return out;
}

Score score_of(const MetricSums& sums) { return {sums.values(), sums.counts(), 0}; }

// Totals of all series: one sum a model, under fev one a model and window.
class Totals {
 public:
  explicit Totals(const BacktestSetup& setup) : setup_(setup) {
    const auto windows =
        static_cast<std::size_t>(setup.convention == Convention::fev ? setup.windows : 1);
    for (std::size_t m = 0; m < setup.models.size(); ++m)
      sums_.emplace_back(windows, new_sums(setup.convention));
    fallbacks_.resize(setup.models.size());
  }

  static MetricSums new_sums(Convention convention) {
    return MetricSums({.convention = convention, .levels = kScored});
  }

  SeriesScores add(const TimeSeries& s, const SeriesForecasts& f) {
    SeriesScores scores{s.id, {}};
    for (std::size_t m = 0; m < setup_.models.size(); ++m) {
      MetricSums own = new_sums(setup_.convention);
      std::int64_t fallbacks = 0;
      for (std::size_t w = 0; w < f.windows.size(); ++w) {
        const ForecastWindow window =
            window_of(s, f.windows[w].cut, f.scale_season, f.forecasts[w][m]);
        own.add(window);
        auto& sums = sums_[m];
        sums[sums.size() == 1 ? 0 : static_cast<std::size_t>(f.windows[w].index)].add(window);
        fallbacks += !f.forecasts[w][m].fallback.empty();
      }
      scores.models.push_back(score_of(own));
      scores.models.back().fallbacks = fallbacks;
      fallbacks_[m] += fallbacks;
    }
    return scores;
  }

  std::vector<Score> finish() const {
    std::vector<Score> out;
    for (std::size_t m = 0; m < sums_.size(); ++m) {
      out.push_back(sums_[m].size() == 1 ? score_of(sums_[m][0]) : mean_of_windows(sums_[m]));
      out.back().fallbacks = fallbacks_[m];
    }
    return out;
  }

 private:
  const BacktestSetup& setup_;
  std::vector<std::vector<MetricSums>> sums_;
  std::vector<std::int64_t> fallbacks_;
};

BacktestSetup completed(const std::vector<TimeSeries>& series, BacktestSetup setup) {
  require(!series.empty() && !setup.models.empty(), ErrorCode::invalid_argument,
          "no series or no model to test");
  if (setup.horizon == 0) setup.horizon = default_horizon(series[0].grid.frequency);
  if (setup.step == 0) setup.step = setup.horizon;
  if (setup.windows > 0) return setup;
  std::size_t shortest = series[0].values.size();
  for (const TimeSeries& s : series) shortest = std::min(shortest, s.values.size());
  const double tenth = 0.1 * static_cast<double>(shortest) / static_cast<double>(setup.horizon);
  setup.windows = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(tenth)), 1, 20);
  return setup;
}

}  // namespace

std::span<const double> backtest_levels() { return kLevels; }

BacktestResult run_backtest(const std::vector<TimeSeries>& series, const BacktestSetup& given,
                            ThreadPool& threads) {
  const BacktestSetup setup = completed(series, given);
  BacktestResult result{setup.horizon, setup.windows, setup.step, 0, {}, {}};
  Totals totals(setup);
  const auto all = static_cast<std::int64_t>(series.size());
  const bool together = std::any_of(setup.models.begin(), setup.models.end(),
                                    [](const Baseline* m) { return m->many != nullptr; });
  const std::int64_t block = together ? 64 : 8 * threads.threads();
  std::int64_t used = 0;
  for (std::int64_t from = 0; from < all; from += block) {
    const std::int64_t count = std::min(block, all - from);
    std::vector<SeriesForecasts> made(static_cast<std::size_t>(count));
    threads.run(count, [&](std::int64_t i, Scratch&) {
      made[static_cast<std::size_t>(i)] =
          forecast_windows(series[static_cast<std::size_t>(from + i)], setup);
    });
    forecast_together(std::span(series).subspan(static_cast<std::size_t>(from), made.size()), made,
                      setup);
    for (std::int64_t i = 0; i < count; ++i) {
      const TimeSeries& s = series[static_cast<std::size_t>(from + i)];
      const SeriesForecasts& f = made[static_cast<std::size_t>(i)];
      result.left_out += f.left_out;
      used += static_cast<std::int64_t>(f.windows.size());
      if (f.windows.empty()) continue;
      result.series.push_back(totals.add(s, f));
      for (std::size_t w = 0; w < f.windows.size() && setup.forecast; ++w) {
        for (std::size_t m = 0; m < setup.models.size(); ++m)
          setup.forecast(s, f.windows[w].cut, *setup.models[m], f.forecasts[w][m]);
      }
    }
    require(!setup.progress || setup.progress(from + count), ErrorCode::interrupted, "stopped");
  }
  require(used > 0, ErrorCode::invalid_argument, "no window fits: ", setup.windows,
          " windows of horizon ", setup.horizon, " need more than ",
          setup.horizon + (setup.windows - 1) * setup.step, " values; give a smaller --horizon");
  result.total = totals.finish();
  return result;
}

}  // namespace subquad
