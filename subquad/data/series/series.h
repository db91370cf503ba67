// Time series on a regular grid, and reading them from delimited text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/data/series/calendar.h"

namespace subquad {

struct TimeSeries {
  std::string id;
  Grid grid;  // values[i] stands at grid.at(i)
  StampStyle style;
  std::vector<double> values;  // NaN: missing; the first and the last are observed

  std::string stamp(std::int64_t index) const { return stamp_text(grid.at(index), style); }
};

struct ReadSetup {
  // auto, or
  //   long    a row per observation: id, time, value (id may be absent)
  //   wide    a row per time, a column per series, the time column first or absent
  //   column  values alone, one a line
  std::string layout = "auto";
  // Names of the columns in a long file. Empty: unique_id, item_id, series_id, series or id; ds,
  // timestamp, datetime, date or time; y, target or value, in any case; in a file without a header
  // the first three columns.
  std::string id_column = {}, time_column = {}, target = {};
  // pandas alias; empty: inferred, series by series, from the first 20000 stamps
  std::string frequency = {};
  char delimiter = 0;  // 0: of , ; tab and | the commonest in the first row
  char decimal = '.';
  std::int64_t max_points = std::int64_t{1} << 28;  // rows, and slots of all grids
};

struct SeriesFile {
  std::vector<TimeSeries> series;  // in the order of first appearance
  // What was repaired or left out, with its count and the first place: duplicates, displaced
  // stamps, infinities, empty ends, series without an observation.
  std::vector<std::string> notes;
};

// Reads a file, or standard input for "-". Values: numbers; empty, NA, N/A, NaN, null, none, "." and
// "?" are missing; infinite ones are read as missing and noted. Rows may come in any order. Of rows
// with one id and time the last one with a value counts. Gaps of the grid become missing values.
// Stamps with different offsets become UTC where the step is below a day, else they keep their
// clock.
// Errors: io; invalid_argument for a column or layout that is not there; format with line and
//   column for anything that is no number or time; format for an empty file, one without an
//   observation, a series without a frequency, a grid of more than 100 slots a row.
// Cost: 16 bytes a row while reading, 8 bytes a slot afterwards.
SeriesFile read_series(const std::string& path, const ReadSetup& setup);
SeriesFile parse_series(std::string_view text, const std::string& source, const ReadSetup& setup);

// The season length that evaluation packages and their boards assume.
//   gluonts  s 3600, min 1440, h 24, D 1, B 5, W 1, month 12, quarter 4, year 1, integer 1
//   fev      the same with D 7
// n units a step: the unit's season / n if that is whole, else 1.
std::int64_t default_season(const Frequency& frequency, bool daily_is_weekly);
// The horizon of GIFT-Eval's short tasks: seconds 60, minutes, hours 48, D, B 30, W 8, month 12,
// quarter 8, year 6, integer 12.
std::int64_t default_horizon(const Frequency& frequency);

}  // namespace subquad
