// Layouts of delimited text.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <unordered_map>

#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/base/text.h"
#include "subquad/data/series/rows.h"
#include "subquad/io/csv.h"
#include "subquad/io/json.h"

namespace subquad {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kNone = static_cast<std::size_t>(-1);

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

bool is_missing(std::string_view s) {
  if (s.empty()) return true;
  if (s.size() > 4) return false;
  const std::string word = lower(s);
  for (const char* m : {"na", "n/a", "nan", "null", "none", ".", "?", "-nan"}) {
    if (word == m) return true;
  }
  return false;
}

// False if the text is no number. Too large a number is infinite, too small a one zero.
bool parse_number(std::string_view s, char decimal, double& to) {
  std::string replaced;
  if (decimal != '.') {
    if (s.find('.') != std::string_view::npos) return false;
    replaced = s;
    std::replace(replaced.begin(), replaced.end(), decimal, '.');
    s = replaced;
  }
  if (s.starts_with('+')) s.remove_prefix(1);
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), to);
  if (end != s.data() + s.size() || s.empty()) return false;
  if (error == std::errc::result_out_of_range) {
    const bool tiny =
        s.find("e-") != std::string_view::npos || s.find("E-") != std::string_view::npos;
    to = tiny ? 0 : HUGE_VAL;
  }
  return error != std::errc::invalid_argument;
}

class Reader {
 public:
  Reader(std::string_view text, const std::string& source, const ReadSetup& setup)
      : setup_(setup), csv_(text, source, setup.delimiter, setup.decimal), rows_(source, setup) {}

  SeriesFile read() {
    require(csv_.next(), ErrorCode::format, csv_.source(),
            " is empty; wanted rows like \"unique_id,ds,y\"");
    read_header();
    choose_layout();
    if (!has_header_ || csv_.next()) {
      do {
        require(csv_.cells().size() == names_.size(), ErrorCode::format, csv_.source(), " line ",
                csv_.line(), ": got ", csv_.cells().size(), " cells, wanted ", names_.size(),
                has_header_ ? " as in the header" : " as in the first line", " (delimiter \"",
                csv_.delimiter() == '\t' ? "tab" : std::string(1, csv_.delimiter()), "\")");
        ++row_;
        layout_ == Layout::lengthwise ? long_row() : wide_row();
      } while (csv_.next());
    }
    return rows_.finish();
  }

 private:
  enum class Layout : std::uint8_t { lengthwise, wide };

  void read_header() {
    const auto data = [&](std::string_view cell) {
      double x;
      return is_missing(cell) || parse_number(cell, setup_.decimal, x) || parse_stamp(cell);
    };
    const auto& cells = csv_.cells();
    // No header: the last cell is a value. But the names of a wide file may be numbers, and an id may
    // stand in front of a row of data: then the row below begins in the same way.
    CsvReader below = csv_;
    has_header_ = !data(trimmed(cells.back())) ||
                  (!data(trimmed(cells[0])) && below.next() && data(trimmed(below.cells()[0])));
    for (std::size_t i = 0; i < cells.size(); ++i)
      names_.push_back(has_header_ ? std::string(trimmed(cells[i]))
                                   : "column" + std::to_string(i + 1));
    first_is_time_ = !has_header_ && parse_stamp(trimmed(cells[0])).has_value();
    if (!has_header_) return;
    // The first row of data says whether a column without a known name holds times.
    CsvReader ahead = csv_;
    if (ahead.next()) first_is_time_ = parse_stamp(trimmed(ahead.cells()[0])).has_value();
  }

  std::size_t column(const std::string& wanted, const char* option,
                     std::initializer_list<const char*> known) const {
    if (!wanted.empty()) {
      const auto at = std::find(names_.begin(), names_.end(), wanted);
      const std::string near = nearest_key(wanted, names_);
      std::string all;
      constexpr std::size_t kNamed = 20;
      for (std::size_t i = 0; i < std::min(kNamed, names_.size()); ++i)
        all.append(i ? ", " : "").append(shown(names_[i]));
      if (names_.size() > kNamed)
        all.append(" and ").append(std::to_string(names_.size() - kNamed)).append(" more");
      require(at != names_.end(), ErrorCode::invalid_argument, option, " ", wanted, ": ",
              csv_.source(), " has no such column",
              near.empty() ? "; it has " + all : "; did you mean \"" + near + "\"?");
      return static_cast<std::size_t>(at - names_.begin());
    }
    for (const char* name : known) {
      for (std::size_t i = 0; i < names_.size(); ++i) {
        if (lower(names_[i]) == name) return i;
      }
    }
    return kNone;
  }

  void choose_layout() {
    id_ =
        column(setup_.id_column, "--id-col", {"unique_id", "item_id", "series_id", "series", "id"});
    time_ =
        column(setup_.time_column, "--time-col", {"ds", "timestamp", "datetime", "date", "time"});
    target_ = column(setup_.target, "--target", {"y", "target", "value"});
    const std::string& l = setup_.layout;
    require(l == "auto" || l == "long" || l == "wide" || l == "column", ErrorCode::invalid_argument,
            "--layout ", l, ", wanted auto, long, wide or column");
    require(l != "column" || names_.size() == 1, ErrorCode::invalid_argument,
            "--layout column: ", csv_.source(), " has ", names_.size(), " columns, wanted one");
    const bool given = !setup_.id_column.empty() || !setup_.target.empty();
    const bool bare_long = !has_header_ && names_.size() >= 2 && names_.size() <= 3 &&
                           (names_.size() == 2) == first_is_time_;
    const bool lengthwise =
        l == "long" ||
        (l == "auto" && (given || (time_ != kNone && target_ != kNone) || bare_long));
    if (!lengthwise) {
      layout_ = Layout::wide;
      if (time_ == kNone && first_is_time_ && names_.size() > 1 && time_named_or_dates()) time_ = 0;
      return;
    }
    layout_ = Layout::lengthwise;
    if (!has_header_) {
      require(names_.size() >= 2, ErrorCode::format, csv_.source(),
              ": one column and no header; a long file has time and value at least");
      id_ = names_.size() > 2 ? 0 : kNone;
      time_ = names_.size() > 2 ? 1 : 0;
      target_ = time_ + 1;
    }
    require(target_ != kNone, ErrorCode::invalid_argument, csv_.source(),
            ": no column y, target or value; name it with --target");
    require(time_ != kNone, ErrorCode::invalid_argument, csv_.source(),
            ": no column ds, timestamp, datetime, date or time; name it with --time-col");
  }

  // An unnamed first column of plain integers is a series, of dates it is the time.
  bool time_named_or_dates() {
    CsvReader ahead = csv_;
    if (has_header_ && !ahead.next()) return false;
    const auto stamp = parse_stamp(trimmed(ahead.cells()[0]));
    return stamp && (stamp->kind != StampKind::integer || names_[0].empty());
  }

  const char* hint_of(std::string_view text) const {
    const bool comma = text.find(',') != std::string_view::npos,
               point = text.find('.') != std::string_view::npos;
    if (text.find_first_not_of("0123456789+-.,") == std::string_view::npos && (comma || point)) {
      if (comma && point) return "; numbers are read without separators of thousands";
      if (comma && setup_.decimal == '.')
        return "; for a decimal comma give --decimal ,, for quoted ones --delimiter , too";
    }
    if (std::count_if(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }) >= 4)
      return "; a date is written 2014-03-01 or 01.03.2014, in the first column or in --time-col";
    return layout_ == Layout::wide
               ? "; a file with a column of names is long: name it with --id-col, the values with "
                 "--target; missing values are empty, NA, NaN or null"
               : "; missing values are empty, NA, NaN or null";
  }

  double value_at(std::size_t cell) {
    const std::string_view text = trimmed(csv_.cells()[cell]);
    double value = kNaN;
    if (is_missing(text)) return value;
    if (!parse_number(text, setup_.decimal, value)) {
      fail(ErrorCode::format, csv_.place(cell), " (", shown(names_[cell]), "): \"", shown(text),
           "\" is no number", hint_of(text));
    }
    if (std::isnan(value)) return kNaN;
    if (!std::isinf(value)) return value;
    rows_.note("infinite values are read as missing", csv_.place(cell));
    return kNaN;
  }

  Stamp stamp_at(std::size_t cell) {
    if (cell == kNone) return {row_, StampKind::integer, {}};
    const std::string_view text = trimmed(csv_.cells()[cell]);
    const auto stamp = parse_stamp(text);
    require(
        stamp.has_value(), ErrorCode::format, csv_.place(cell), " (", shown(names_[cell]), "): \"",
        shown(text),
        "\" is no time; wanted 2014-03-01, 2014-03-01T10:00[:00][+02:00], 2014-03, 2014Q1 or an "
        "integer");
    return *stamp;
  }

  void long_row() {
    std::string_view id = "series";
    if (id_ != kNone) {
      id = trimmed(csv_.cells()[id_]);
      require(!id.empty(), ErrorCode::format, csv_.place(id_), " (", shown(names_[id_]),
              "): the series has no name");
    }
    const Stamp stamp = stamp_at(time_);
    const double value = value_at(target_);
    rows_.add(rows_.series_named(id), stamp, value, [&] { return csv_.place(time_); });
  }

  void wide_row() {
    if (series_.empty()) name_series();
    const Stamp stamp = stamp_at(time_);
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (i == time_) continue;
      rows_.add(series_[i], stamp, value_at(i), [&] { return csv_.place(i); });
    }
  }

  // Columns without a name or with one that others have get their number behind it, once more where
  // that is the name of another column.
  void name_series() {
    std::unordered_map<std::string, int> uses;
    for (const std::string& name : names_) ++uses[name];
    for (std::size_t i = 0; i < names_.size(); ++i) {
      std::string name = names_.size() == 1 && !has_header_ ? "series" : names_[i];
      if (name.empty() || uses[name] > 1) {
        do name += "#" + std::to_string(i + 1);
        while (uses[name] > 0);
        uses[name] = 1;
      }
      series_.push_back(i == time_ ? kNone : rows_.series_named(name));
    }
  }

  const ReadSetup& setup_;
  CsvReader csv_;
  RowCollector rows_;
  std::vector<std::string> names_;
  std::vector<std::size_t> series_;  // of a wide file's columns
  bool has_header_ = false, first_is_time_ = false;
  Layout layout_ = Layout::wide;
  std::size_t id_ = kNone, time_ = kNone, target_ = kNone;
  std::int64_t row_ = 0;
};

}  // namespace

SeriesFile parse_series(std::string_view text, const std::string& source, const ReadSetup& setup) {
  if (!setup.frequency.empty()) frequency_named(setup.frequency);
  return Reader(text, source, setup).read();
}

SeriesFile read_series(const std::string& path, const ReadSetup& setup) {
  if (path == "-") {
    std::string text;
    char buffer[65536];
    while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, stdin))
      text.append(buffer, n);
    return parse_series(text, "standard input", setup);
  }
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_series({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, setup);
}

std::int64_t default_season(const Frequency& f, bool daily_is_weekly) {
  constexpr std::int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute,
                         kDay = 24 * kHour;
  const auto of = [&](std::int64_t season, std::int64_t unit) {
    const std::int64_t steps = f.step / unit;
    return season % steps == 0 ? season / steps : 1;
  };
  switch (f.kind) {
    case Frequency::Kind::integer: return 1;
    case Frequency::Kind::business_days: return of(5, 1);
    case Frequency::Kind::months:
      return f.step % 12 == 0 ? 1 : f.step % 3 == 0 ? of(4, 3) : of(12, 1);
    case Frequency::Kind::fixed: break;
  }
  if (f.step % (7 * kDay) == 0) return 1;
  if (f.step % kDay == 0) return of(daily_is_weekly ? 7 : 1, kDay);
  if (f.step % kHour == 0) return of(24, kHour);
  if (f.step % kMinute == 0) return of(1440, kMinute);
  return f.step % kSecond == 0 ? of(3600, kSecond) : 1;
}

std::int64_t default_horizon(const Frequency& f) {
  constexpr std::int64_t kMinute = 60'000'000, kDay = 24 * 60 * kMinute;
  switch (f.kind) {
    case Frequency::Kind::integer: return 12;
    case Frequency::Kind::business_days: return 30;
    case Frequency::Kind::months: return f.step % 12 == 0 ? 6 : f.step % 3 == 0 ? 8 : 12;
    case Frequency::Kind::fixed: break;
  }
  return f.step % (7 * kDay) == 0 ? 8 : f.step % kDay == 0 ? 30 : f.step % kMinute == 0 ? 48 : 60;
}

}  // namespace subquad
