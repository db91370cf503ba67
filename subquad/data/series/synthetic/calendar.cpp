// Series that follow civil dates: hours, days, weeks, months or quarters.
//   y = trend x weekday x hour x day of the year x month end x events x Weibull noise
// Source: the idea of Dooley et al. 2023 (ForecastPFN, arXiv 2311.01933), section 3.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

namespace chr = std::chrono;

struct Event {
  unsigned month, day;
  double height, width;  // in days
};

// Factors around 1, by position in the calendar.
struct Effects {
  std::array<double, 24> hour;
  std::array<double, 7> weekday;
  std::array<double, 12> month;
  double year_amplitude, year_phase, year_second, month_end;
  std::vector<Event> events;

  explicit Effects(Draws& d) {
    const SeasonShape day(d, 24);
    const double hourly = d.log_uniform(0.05, 0.9);
    for (std::size_t h = 0; h < 24; ++h)
      hour[h] = 1 + hourly * day.at(static_cast<double>(h) + 0.01);
    const double daily = d.chance(0.8) ? d.log_uniform(0.02, 0.5) : 0,
                 weekend = d.chance(0.6) ? d.uniform(0.2, 1.4) : 1;
    for (std::size_t w = 0; w < 7; ++w)
      weekday[w] = std::max(0.05, (1 + 0.5 * daily * d.normal()) * (w >= 5 ? weekend : 1));
    const double monthly = d.chance(0.5) ? d.log_uniform(0.02, 0.5) : 0;
    for (double& m : month) m = std::max(0.05, 1 + 0.5 * monthly * d.normal());
    year_amplitude = d.chance(0.8) ? d.log_uniform(0.03, 0.6) : 0;
    year_phase = d.uniform(0, 1);
    year_second = d.uniform(0, 0.4);
    month_end = d.chance(0.2) ? d.uniform(-0.4, 0.8) : 0;
    for (std::int64_t k = d.chance(0.5) ? d.between(1, 4) : 0; k > 0; --k)
      events.push_back(
          {static_cast<unsigned>(d.between(1, 12)), static_cast<unsigned>(d.between(1, 28)),
           d.chance(0.4) ? -d.uniform(0.2, 0.9) : d.log_uniform(0.2, 3), d.uniform(0.6, 5)});
  }

  // Of one day.
  double at(chr::sys_days day) const {
    const chr::year_month_day date(day);
    const auto of_month = static_cast<unsigned>(date.month());
    const chr::sys_days new_year = chr::sys_days(date.year() / chr::January / 1);
    const double turn = static_cast<double>((day - new_year).count()) / 365.25 + year_phase,
                 wave = std::cos(2 * std::numbers::pi * turn) +
                        year_second * std::cos(4 * std::numbers::pi * turn);
    double factor = (1 + year_amplitude * wave / (1 + year_second)) * month[of_month - 1] *
                    weekday[chr::weekday(day).iso_encoding() - 1];
    if (month_end != 0 && static_cast<unsigned>(date.day()) >= 27) factor *= 1 + month_end;
    for (const Event& e : events) {
      const chr::sys_days when = date.year() / chr::month(e.month) / chr::day(e.day);
      const double away = static_cast<double>((day - when).count()) / e.width;
      if (std::abs(away) < 3) factor *= 1 + e.height * std::exp(-away * away);
    }
    return std::max(0.0, factor);
  }
};

enum class Unit : std::uint8_t { hour, day, week, month, quarter };

// Means over the days of each step; hours share their day's.
void fill_calendar(Unit unit, const Effects& effects, chr::sys_days from, std::span<double> y) {
  chr::sys_days day = from;
  std::int64_t first_month = 0;
  double of_day = 0;
  for (std::size_t t = 0; t < y.size(); ++t) {
    if (unit == Unit::hour) {
      if (t % 24 == 0) of_day = effects.at(from + chr::days(t / 24));
      y[t] = of_day * effects.hour[t % 24];
      continue;
    }
    chr::sys_days end = day + chr::days(unit == Unit::week ? 7 : 1);
    if (unit == Unit::month || unit == Unit::quarter) {
      first_month += unit == Unit::month ? 1 : 3;
      const chr::year_month_day start(from);
      end = (start.year() / start.month() / 1) + chr::months(first_month);
    }
    // Some days stand for their neighbours; sums of months carry their number of days.
    const std::int64_t days = (end - day).count(), stride = days > 31 ? 7 : days > 7 ? 3 : 1;
    double sum = 0;
    for (std::int64_t k = 0; k < days; k += stride)
      sum += effects.at(day + chr::days(k)) * static_cast<double>(std::min(stride, days - k));
    y[t] = sum / (unit == Unit::month     ? 30.44
                  : unit == Unit::quarter ? 91.31
                                          : static_cast<double>(days));
    day = end;
  }
}

}  // namespace

void calendar_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  constexpr double kUnits[] = {3, 4, 2, 3, 1};
  auto unit = static_cast<Unit>(d.weighted(kUnits));
  // A month costs ten evaluations: longer series than 1500 months are nothing real.
  if (y.size() > 1500 && (unit == Unit::month || unit == Unit::quarter)) unit = Unit::day;
  const Effects effects(d);
  chr::sys_days from = chr::sys_days(chr::days(d.between(0, 20000)));
  if (unit == Unit::month || unit == Unit::quarter) {
    const chr::year_month_day date(from);
    from = date.year() / date.month() / 1;
  }
  fill_calendar(unit, effects, from, y);
  const std::vector<double> trend = draw_trend(d, y.size());
  const double growth = d.log_uniform(0.05, 2.3);  // at most ten times
  // Weibull with mean 1: the larger the shape, the smaller the noise.
  const double shape = d.log_uniform(1.5, 60), mean = std::tgamma(1 + 1 / shape);
  for (std::size_t t = 0; t < y.size(); ++t)
    y[t] *= std::exp(growth * trend[t]) * std::pow(d.exponential(), 1 / shape) / mean;
}

}  // namespace subquad
