// Time stamps and the grids they lie on. A time is a count of microseconds since 1970-01-01T00:00
// in the file's own clock, or a plain integer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace subquad {

enum class StampKind : std::uint8_t { integer, date, time };

struct Stamp {
  std::int64_t value = 0;
  StampKind kind = StampKind::integer;
  std::optional<std::int16_t> offset_minutes = {};  // +02:00 is 120; `value` is the wall clock
};

// Reads an integer (2014, -3); a date (2014-03-01, 2014/03/01, 20140301, 2014-03, 2014Q1, 2014-Q1);
// a date with T or space and hh:mm[:ss[.ffffff]], then Z or +hh:mm if any. Eight digits are a date
// if they can be one of the years 1800 to 2199. Nothing for anything else.
std::optional<Stamp> parse_stamp(std::string_view text);

// The distance between neighbours of a series.
struct Frequency {
  enum class Kind : std::uint8_t { integer, fixed, months, business_days };
  Kind kind = Kind::integer;
  std::int64_t step = 1;   // integers, microseconds, months or business days
  bool month_end = false;  // months: the last day of a month, not the day of the anchor

  bool operator==(const Frequency&) const = default;
};

// pandas alias: "h", "15min", "D", "B", "W", "MS", "ME", "QS", "YE", "10s"; integer steps "1", "2".
std::string name_of(const Frequency& frequency);
// The same aliases, with the older H T S M Q A and anchors (W-SUN, QE-DEC).
// Errors: invalid_argument, with the list.
Frequency frequency_named(const std::string& alias);

// Slots anchor + 0, 1, 2 ... steps, and back.
struct Grid {
  Frequency frequency;
  std::int64_t anchor = 0;
  std::int64_t at(std::int64_t index) const;
  struct Slot {
    std::int64_t index;
    bool exact;  // false: the time lies off the grid and this is the slot it belongs to
  };
  Slot slot_of(std::int64_t time) const;
};

// The grid of sorted, distinct stamps; one missing or displaced stamp changes nothing. Steps are
// tried in this order:
//   whole months, if nine in ten stamps share a day of the month (or its last day);
//   the commonest difference, if nine in ten stamps lie on its grid: five days a week is
//     business days;
//   one stamp in each of different months, quarters or years about that far apart: its months;
//   the greatest common divisor of the differences, if the grid then has at most 20 slots a stamp.
// Nothing for fewer than two stamps or if none fits.
std::optional<Grid> infer_grid(std::span<const std::int64_t> times, StampKind kind);
// The grid of a given frequency that most stamps lie on.
Grid grid_with(const Frequency& frequency, std::span<const std::int64_t> times);

// How a file writes its stamps.
struct StampStyle {
  StampKind kind = StampKind::integer;
  std::optional<std::int16_t> offset_minutes = {};
};
// 2014-03-01, 2014-03-01T10:00[:00[.000000]][+02:00 or Z], or an integer.
std::string stamp_text(std::int64_t time, const StampStyle& style);

}  // namespace subquad
