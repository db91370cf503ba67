// Grids of time stamps: names, arithmetic, inference.
#include "subquad/data/series/calendar.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>

#include "subquad/base/error.h"

namespace subquad {
namespace {

namespace ch = std::chrono;
using Kind = Frequency::Kind;

constexpr std::int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute,
                       kDay = 24 * kHour, kWeek = 7 * kDay, kLongest = 365'000 * kDay;
// 0001-01-01 and behind 9999-12-31, from 1970 on.
constexpr std::int64_t kFirstTime = -719'162 * kDay, kLastTime = 2'932'897 * kDay;

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}
std::int64_t floor_mod(std::int64_t a, std::int64_t b) { return a - b * floor_div(a, b); }

struct Civil {
  std::int64_t month = 0;  // since year 0
  int day = 1, last_day = 31;
  std::int64_t rest = 0;  // microseconds of the day
};

int last_day_of(std::int64_t month) {
  const ch::year_month_day_last last{
      ch::year(static_cast<int>(floor_div(month, 12))),
      ch::month_day_last(ch::month(static_cast<unsigned>(floor_mod(month, 12) + 1)))};
  return static_cast<int>(static_cast<unsigned>(last.day()));
}

Civil civil_of(std::int64_t time) {
  const std::int64_t days = floor_div(time, kDay);
  const ch::year_month_day date{ch::sys_days{ch::days{days}}};
  Civil c;
  c.month =
      12 * std::int64_t{static_cast<int>(date.year())} + static_cast<unsigned>(date.month()) - 1;
  c.day = static_cast<int>(static_cast<unsigned>(date.day()));
  c.last_day = last_day_of(c.month);
  c.rest = time - days * kDay;
  return c;
}

std::int64_t time_of(std::int64_t month, int day, std::int64_t rest) {
  const ch::year_month_day date{ch::year(static_cast<int>(floor_div(month, 12))),
                                ch::month(static_cast<unsigned>(floor_mod(month, 12) + 1)),
                                ch::day(static_cast<unsigned>(std::min(day, last_day_of(month))))};
  return std::int64_t{ch::sys_days(date).time_since_epoch().count()} * kDay + rest;
}

// Business days since Monday 1969-12-29; weekends count as the Friday before.
std::int64_t business_index(std::int64_t time) {
  const std::int64_t days = floor_div(time, kDay) + 3;
  return 5 * floor_div(days, 7) + std::min<std::int64_t>(floor_mod(days, 7), 4);
}
bool is_weekend(std::int64_t time) { return floor_mod(floor_div(time, kDay) + 3, 7) > 4; }

std::int64_t commonest(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  std::int64_t best = values[0];
  std::size_t most = 0;
  for (std::size_t i = 0, j; i < values.size(); i = j) {
    for (j = i; j < values.size() && values[j] == values[i];) ++j;
    if (j - i > most) {
      most = j - i;
      best = values[i];
    }
  }
  return best;
}

std::vector<std::int64_t> differences(std::span<const std::int64_t> x) {
  std::vector<std::int64_t> d;
  for (std::size_t i = 1; i < x.size(); ++i) {
    if (x[i] != x[i - 1]) d.push_back(x[i] - x[i - 1]);
  }
  return d;
}

// Nine of ten; of five and more all but one.
bool most(std::int64_t count, std::size_t all) {
  const auto n = static_cast<std::int64_t>(all);
  return 10 * count >= 9 * n || (n >= 5 && count == n - 1);
}

// The commonest remainder on a grid of `step`, and how many share it.
std::pair<std::int64_t, std::int64_t> remainder(std::span<const std::int64_t> x,
                                                std::int64_t step) {
  std::vector<std::int64_t> r;
  for (const std::int64_t v : x) r.push_back(floor_mod(v, step));
  const std::int64_t best = commonest(r);
  return {best, std::count(r.begin(), r.end(), best)};
}

// A time with this remainder near the first one.
std::int64_t anchor_at(std::int64_t first, std::int64_t step, std::int64_t rest) {
  const std::int64_t back = floor_mod(first - rest, step);
  return 2 * back > step ? first - back + step : first - back;
}

// The commonest difference if most values lie on its grid; 0 if not.
std::int64_t common_step(std::span<const std::int64_t> x) {
  const std::vector<std::int64_t> d = differences(x);
  if (d.empty()) return 0;
  const std::int64_t step = commonest(d);
  return most(remainder(x, step).second, x.size()) ? step : 0;
}

std::int64_t divisor_step(std::span<const std::int64_t> x) {
  std::int64_t step = 0;
  for (const std::int64_t d : differences(x)) step = std::gcd(step, d);
  const bool dense =
      step > 0 && (x.back() - x.front()) / step <= 20 * static_cast<std::int64_t>(x.size());
  return dense ? step : 0;
}

// Day 1 to 31 that most stamps share, 32 for the last of each month, 0 if there is none.
int shared_day(std::span<const std::int64_t> times) {
  std::vector<std::int64_t> days, rests;
  std::int64_t ends = 0;
  for (const std::int64_t t : times) {
    const Civil c = civil_of(t);
    days.push_back(c.day);
    rests.push_back(c.rest);
    ends += c.day == c.last_day;
  }
  if (!most(std::count(rests.begin(), rests.end(), commonest(rests)), times.size())) return 0;
  if (most(ends, times.size())) return 32;
  const std::int64_t day = commonest(days);
  const std::int64_t same = std::count_if(times.begin(), times.end(), [&](std::int64_t t) {
    const Civil c = civil_of(t);
    return c.day == std::min<std::int64_t>(day, c.last_day);
  });
  return most(same, times.size()) ? static_cast<int>(day) : 0;
}

std::vector<std::int64_t> months_of(std::span<const std::int64_t> times) {
  std::vector<std::int64_t> months;
  for (const std::int64_t t : times) months.push_back(civil_of(t).month);
  return months;
}

std::optional<Grid> month_grid(std::span<const std::int64_t> times) {
  const int day = shared_day(times);
  if (day == 0) return {};
  const std::vector<std::int64_t> months = months_of(times);
  std::int64_t step = common_step(months);
  if (step == 0) step = divisor_step(months);
  if (step == 0) return {};
  return grid_with({Kind::months, step, day == 32}, times);
}

// One stamp in every month, quarter or year, on whatever day.
std::optional<Grid> rough_month_grid(std::span<const std::int64_t> times) {
  std::vector<std::int64_t> d = differences(times);
  std::nth_element(d.begin(), d.begin() + static_cast<std::ptrdiff_t>(d.size() / 2), d.end());
  const std::int64_t middle = d[d.size() / 2];
  for (const auto& [step, low, high] :
       {std::array<std::int64_t, 3>{1, 26, 35}, {3, 85, 97}, {12, 355, 375}}) {
    if (middle < low * kDay || middle > high * kDay) continue;
    std::vector<std::int64_t> slots = months_of(times);
    for (std::int64_t& m : slots) m = floor_div(m, step);
    const auto distinct = std::unique(slots.begin(), slots.end()) - slots.begin();
    if (!most(distinct, times.size())) continue;
    return Grid{{Kind::months, step, false},
                time_of(floor_div(civil_of(times[0]).month, step) * step, 1, 0)};
  }
  return {};
}

struct Alias {
  const char* name;
  Frequency frequency;
};
constexpr Alias kAliases[] = {{"us", {Kind::fixed, 1}},        {"ms", {Kind::fixed, 1000}},
                              {"s", {Kind::fixed, kSecond}},   {"min", {Kind::fixed, kMinute}},
                              {"h", {Kind::fixed, kHour}},     {"D", {Kind::fixed, kDay}},
                              {"W", {Kind::fixed, kWeek}},     {"B", {Kind::business_days, 1}},
                              {"MS", {Kind::months, 1}},       {"ME", {Kind::months, 1, true}},
                              {"QS", {Kind::months, 3}},       {"QE", {Kind::months, 3, true}},
                              {"YS", {Kind::months, 12}},      {"YE", {Kind::months, 12, true}},
                              {"S", {Kind::fixed, kSecond}},   {"T", {Kind::fixed, kMinute}},
                              {"H", {Kind::fixed, kHour}},     {"M", {Kind::months, 1, true}},
                              {"Q", {Kind::months, 3, true}},  {"A", {Kind::months, 12, true}},
                              {"Y", {Kind::months, 12, true}}, {"AS", {Kind::months, 12}}};
constexpr int kWritten = 14;  // the aliases that are written; the others are only read

}  // namespace

std::string name_of(const Frequency& f) {
  if (f.kind == Kind::integer) return std::to_string(f.step);
  const Alias* best = nullptr;
  for (const Alias& a : std::span(kAliases).first(kWritten)) {
    const bool fits = a.frequency.kind == f.kind && a.frequency.month_end == f.month_end &&
                      f.step % a.frequency.step == 0;
    if (fits && (!best || a.frequency.step > best->frequency.step)) best = &a;
  }
  const std::int64_t times = f.step / best->frequency.step;
  return (times == 1 ? "" : std::to_string(times)) + best->name;
}

Frequency frequency_named(const std::string& alias) {
  const std::size_t digits = std::min(alias.find_first_not_of("0123456789"), alias.size());
  const bool sensible = digits <= 9 && (digits == 0 || alias[0] != '0');
  const std::int64_t times = sensible && digits > 0 ? std::stoll(alias.substr(0, digits)) : 1;
  const std::string unit = alias.substr(digits, alias.find('-') - digits);
  if (sensible && unit.empty() && digits > 0) return {Kind::integer, times, false};
  for (const Alias& a : kAliases) {
    if (!sensible || unit != a.name) continue;
    Frequency f = a.frequency;
    const std::int64_t most = f.kind == Kind::fixed ? kLongest : kLongest / kDay / 30;
    require(times <= most / f.step, ErrorCode::invalid_argument, "frequency \"", alias,
            "\", wanted a step of at most a thousand years");
    f.step *= times;
    return f;
  }
  fail(ErrorCode::invalid_argument, "frequency \"", alias,
       "\", wanted a pandas alias (s, min, h, D, B, W, MS, ME, QS, QE, YS, YE, with a number in "
       "front if any: 15min) or an integer step");
}

std::int64_t Grid::at(std::int64_t index) const {
  std::int64_t ahead = 0, time = 0;
  bool inside = !__builtin_mul_overflow(index, frequency.step, &ahead) &&
                std::abs(ahead) < std::numeric_limits<std::int64_t>::max() / 2;
  if (inside && frequency.kind == Kind::integer) return anchor + ahead;
  if (inside && frequency.kind == Kind::fixed) {
    time = anchor + ahead;
  } else if (inside && frequency.kind == Kind::months) {
    const Civil c = civil_of(anchor);
    inside = c.month + ahead >= 12 && c.month + ahead < 120'000;
    if (inside) time = time_of(c.month + ahead, frequency.month_end ? 31 : c.day, c.rest);
  } else if (inside) {
    inside = std::abs(ahead) < kLastTime / kDay;
    const std::int64_t b = business_index(anchor) + (inside ? ahead : 0);
    time = (7 * floor_div(b, 5) + floor_mod(b, 5) - 3) * kDay + floor_mod(anchor, kDay);
  }
  require(inside && time >= kFirstTime && time < kLastTime, ErrorCode::invalid_argument, index,
          " steps of ", name_of(frequency),
          " leave the calendar (years 1 to 9999); give a smaller --horizon");
  return time;
}

Grid::Slot Grid::slot_of(std::int64_t time) const {
  std::int64_t index = 0;
  switch (frequency.kind) {
    case Kind::integer:
    case Kind::fixed: index = floor_div(time - anchor + frequency.step / 2, frequency.step); break;
    case Kind::months:
      index = floor_div(civil_of(time).month - civil_of(anchor).month, frequency.step);
      break;
    case Kind::business_days:
      index = floor_div(business_index(time) - business_index(anchor), frequency.step);
      break;
  }
  return {index, at(index) == time};
}

Grid grid_with(const Frequency& f, std::span<const std::int64_t> times) {
  require(!times.empty(), ErrorCode::invalid_argument, "no time stamp to lay a grid through");
  if (f.kind == Kind::integer || f.kind == Kind::fixed)
    return {f, anchor_at(times[0], f.step, remainder(times, f.step).first)};
  if (f.kind == Kind::business_days) return {f, times[0]};
  const std::vector<std::int64_t> months = months_of(times);
  const int day = shared_day(times);
  const std::int64_t month = anchor_at(months[0], f.step, remainder(months, f.step).first);
  std::vector<std::int64_t> rests;
  for (const std::int64_t t : times) rests.push_back(civil_of(t).rest);
  const int anchor_day = f.month_end ? 31 : day == 0 || day == 32 ? 1 : day;
  return {f, time_of(month, anchor_day, commonest(rests))};
}

std::optional<Grid> infer_grid(std::span<const std::int64_t> times, StampKind kind) {
  if (times.size() < 2) return {};
  if (kind == StampKind::integer) {
    std::int64_t step = common_step(times);
    if (step == 0) step = divisor_step(times);
    return step > 0 ? std::optional(grid_with({Kind::integer, step, false}, times)) : std::nullopt;
  }
  if (const auto grid = month_grid(times)) return grid;
  std::int64_t step = commonest(differences(times));
  const bool daily = step == kDay || (step == 3 * kDay && times.size() == 2);
  if (daily && times.size() >= 5 && std::none_of(times.begin(), times.end(), is_weekend) &&
      business_index(times.back()) - business_index(times.front()) >= 5)
    return grid_with({Kind::business_days, 1, false}, times);
  step = common_step(times);
  if (step == 0) {
    if (const auto grid = rough_month_grid(times)) return grid;
    step = divisor_step(times);
  }
  return step > 0 ? std::optional(grid_with({Kind::fixed, step, false}, times)) : std::nullopt;
}

}  // namespace subquad
