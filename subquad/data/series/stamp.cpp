// Reading and writing single time stamps.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <limits>

#include "subquad/data/series/calendar.h"

namespace subquad {
namespace {

namespace ch = std::chrono;

constexpr std::int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute,
                       kDay = 24 * kHour;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::int64_t> day_time(std::int64_t year, std::int64_t month, std::int64_t day) {
  const ch::year_month_day date{ch::year(static_cast<int>(year)),
                                ch::month(static_cast<unsigned>(month)),
                                ch::day(static_cast<unsigned>(day))};
  if (!date.ok()) return {};
  return std::int64_t{ch::sys_days(date).time_since_epoch().count()} * kDay;
}

// Consumes text from the left.
struct Scanner {
  std::string_view rest;
  bool ok = true;

  std::int64_t digits(std::size_t count) {
    std::int64_t value = 0;
    if (rest.size() < count) return ok = false;
    for (std::size_t i = 0; i < count; ++i) {
      if (!is_digit(rest[i])) return ok = false;
      value = 10 * value + (rest[i] - '0');
    }
    rest.remove_prefix(count);
    return value;
  }
  bool take(std::string_view any) {
    if (rest.empty() || any.find(rest[0]) == std::string_view::npos) return false;
    rest.remove_prefix(1);
    return true;
  }
};

// hh[:mm[:ss[.fraction]]]
std::int64_t clock(Scanner& s) {
  const std::int64_t hour = s.digits(2);
  std::int64_t minute = 0, second = 0, fraction = 0;
  if (s.take(":")) {
    minute = s.digits(2);
    if (s.take(":")) {
      second = s.digits(2);
      if (s.take(".,")) {
        std::int64_t unit = kSecond;
        s.ok = s.ok && !s.rest.empty() && is_digit(s.rest[0]);
        while (!s.rest.empty() && is_digit(s.rest[0])) {
          unit /= 10;
          fraction += unit * (s.rest[0] - '0');
          s.rest.remove_prefix(1);
        }
      }
    }
  }
  s.ok = s.ok && hour < 24 && minute < 60 && second < 60;
  return hour * kHour + minute * kMinute + second * kSecond + fraction;
}

std::optional<std::int16_t> zone(Scanner& s) {
  if (s.rest.empty()) return {};
  if (s.take("Zz")) return std::int16_t{0};
  const bool west = s.rest[0] == '-';
  if (!s.take("+-")) {
    s.ok = false;
    return {};
  }
  const std::int64_t hours = s.digits(2);
  s.take(":");
  const std::int64_t minutes = s.rest.empty() ? 0 : s.digits(2);
  s.ok = s.ok && hours < 24 && minutes < 60;
  return static_cast<std::int16_t>((west ? -1 : 1) * (60 * hours + minutes));
}

std::optional<Stamp> integer_stamp(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  if (text.size() == 8 && value >= 18000101 && value <= 21991231) {
    if (const auto t = day_time(value / 10000, value / 100 % 100, value % 100))
      return Stamp{*t, StampKind::date};
  }
  constexpr std::int64_t kLimit = std::numeric_limits<std::int64_t>::max() / 8;
  if (value > kLimit || value < -kLimit) return {};
  return Stamp{value, StampKind::integer};
}

}  // namespace

std::optional<Stamp> parse_stamp(std::string_view text) {
  if (text.empty()) return {};
  if (text.find_first_not_of("0123456789", text[0] == '-' ? 1 : 0) == std::string_view::npos)
    return integer_stamp(text);
  if (text.size() >= 10 && text[2] == '.' && text[5] == '.') {  // dd.mm.yyyy
    std::string turned(text.substr(6, 4));
    turned.append("-").append(text.substr(3, 2)).append("-").append(text.substr(0, 2));
    return parse_stamp(turned.append(text.substr(10)));
  }
  Scanner s{text};
  const std::int64_t year = s.digits(4);
  const bool dashed = s.take("-/");
  std::int64_t month = 1, day = 1;
  if (s.take("Qq")) {
    const std::int64_t quarter = s.digits(1);
    if (!s.ok || quarter < 1 || quarter > 4) return {};
    month = 3 * quarter - 2;
  } else {
    if (!dashed) return {};
    month = s.digits(2);
    if (s.take("-/")) day = s.digits(2);
  }
  if (!s.ok) return {};
  const auto date = day_time(year, month, day);
  if (!date) return {};
  Stamp stamp{*date, StampKind::date};
  if (!s.rest.empty()) {
    if (!s.take("Tt ")) return {};
    stamp.kind = StampKind::time;
    stamp.value += clock(s);
    if (!s.ok) return {};
    stamp.offset_minutes = zone(s);
  }
  if (!s.ok || !s.rest.empty()) return {};
  return stamp;
}

std::string stamp_text(std::int64_t time, const StampStyle& style) {
  if (style.kind == StampKind::integer) return std::to_string(time);
  const ch::sys_time<ch::microseconds> point{ch::microseconds{time}};
  const auto day = ch::floor<ch::days>(point);
  const ch::year_month_day date{day};
  const std::int64_t rest = (point - day).count();
  char text[64];
  int n = std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()),
                        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  std::string out(text, static_cast<std::size_t>(n));
  if (style.kind == StampKind::date && rest == 0) return out;
  std::snprintf(text, sizeof text, "T%02d:%02d", static_cast<int>(rest / kHour),
                static_cast<int>(rest / kMinute % 60));
  out += text;
  if (rest % kMinute != 0) {
    std::snprintf(text, sizeof text, ":%02d", static_cast<int>(rest / kSecond % 60));
    out += text;
  }
  if (rest % kSecond != 0) {
    std::snprintf(text, sizeof text, ".%06d", static_cast<int>(rest % kSecond));
    out += text;
  }
  if (!style.offset_minutes) return out;
  const int offset = *style.offset_minutes, size = offset < 0 ? -offset : offset;
  if (offset == 0) return out + "Z";
  std::snprintf(text, sizeof text, "%c%02d:%02d", offset < 0 ? '-' : '+', size / 60, size % 60);
  return out + text;
}

}  // namespace subquad
