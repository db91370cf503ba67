#include "subquad/data/series/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "subquad/base/error.h"
#include "subquad/base/text.h"

namespace subquad {
namespace {

constexpr std::int64_t kMinute = 60'000'000, kDay = 24 * 60 * kMinute;
constexpr std::int64_t kSlotsPerRow = 100, kSlotsAnyway = 1000;

// A frequency shows in this many stamps; more only cost time.
constexpr std::size_t kLookedAt = 20'000;

std::span<const std::int64_t> head(const std::vector<std::int64_t>& times) {
  return std::span(times).first(std::min(times.size(), kLookedAt));
}

bool below_a_day(const Frequency& f) { return f.kind == Frequency::Kind::fixed && f.step < kDay; }

}  // namespace

RowCollector::RowCollector(std::string source, const ReadSetup& setup)
    : source_(std::move(source)), setup_(setup) {}

std::size_t RowCollector::series_named(std::string_view id) {
  if (last_ < rows_.size() && rows_[last_].id == id) return last_;
  if (const auto known = index_.find(id); known != index_.end()) return last_ = known->second;
  index_.emplace(id, rows_.size());
  rows_.emplace_back().id = id;
  return last_ = rows_.size() - 1;
}

void RowCollector::note(const std::string& what, const std::string& place) {
  for (Note& n : notes_) {
    if (n.what == what) {
      ++n.count;
      return;
    }
  }
  notes_.push_back({what, place, 1});
}

bool RowCollector::accepts(const SeriesRows& rows, const Stamp& stamp) const {
  if (points_ >= setup_.max_points) return false;
  if (rows.times.empty()) return true;
  const bool same_kind = (rows.kind == StampKind::integer) == (stamp.kind == StampKind::integer);
  return same_kind && rows.offsets.empty() != stamp.offset_minutes.has_value();
}

void RowCollector::refuse(const SeriesRows& rows, const Stamp& stamp,
                          const std::string& place) const {
  require(points_ < setup_.max_points, ErrorCode::out_of_memory, place, ": more than ",
          setup_.max_points, " values; split the file, or give a larger --max-points");
  const bool integer = rows.kind == StampKind::integer;
  require(integer == (stamp.kind == StampKind::integer), ErrorCode::format, place, ": series \"",
          shown(rows.id), "\" mixes ", integer ? "integers with dates" : "dates with integers");
  fail(ErrorCode::format, place, ": series \"", shown(rows.id),
       "\" mixes stamps with and without a time zone");
}

void RowCollector::push(SeriesRows& rows, const Stamp& stamp, double value) {
  rows.kind = std::max(rows.kind, stamp.kind);
  rows.times.push_back(stamp.value);
  rows.values.push_back(value);
  if (stamp.offset_minutes) rows.offsets.push_back(*stamp.offset_minutes);
  ++points_;
}

// One clock for the whole series. Different offsets: UTC below a day, else the clock on the wall.
StampStyle RowCollector::settle_clock(SeriesRows& rows) const {
  StampStyle style{rows.kind, {}};
  if (rows.offsets.empty()) return style;
  const bool one = std::all_of(rows.offsets.begin(), rows.offsets.end(),
                               [&](std::int16_t o) { return o == rows.offsets[0]; });
  if (one) {
    style.offset_minutes = rows.offsets[0];
    return style;
  }
  std::optional<Frequency> f;
  if (!setup_.frequency.empty()) {
    f = frequency_named(setup_.frequency);
  } else {
    std::vector<std::int64_t> sorted = rows.times;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    if (const auto grid = infer_grid(head(sorted), rows.kind)) f = grid->frequency;
  }
  if (f && !below_a_day(*f)) return style;
  for (std::size_t i = 0; i < rows.times.size(); ++i) rows.times[i] -= rows.offsets[i] * kMinute;
  style.offset_minutes = std::int16_t{0};
  return style;
}

// By time, each time once: of several the last with a value.
void RowCollector::sort_rows(SeriesRows& rows) {
  const std::size_t n = rows.times.size();
  if (!std::is_sorted(rows.times.begin(), rows.times.end())) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return rows.times[a] < rows.times[b]; });
    SeriesRows sorted{rows.id, {}, {}, {}, rows.kind};
    sorted.times.reserve(n);
    sorted.values.reserve(n);
    for (const std::size_t i : order) {
      sorted.times.push_back(rows.times[i]);
      sorted.values.push_back(rows.values[i]);
    }
    rows = std::move(sorted);
  }
  rows.offsets = {};
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (kept > 0 && rows.times[i] == rows.times[kept - 1]) {
      note("rows repeat the time of another one; the last value counts",
           "series \"" + shown(rows.id) + "\" at " + stamp_text(rows.times[i], {rows.kind, {}}));
      if (!std::isnan(rows.values[i])) rows.values[kept - 1] = rows.values[i];
      continue;
    }
    rows.times[kept] = rows.times[i];
    rows.values[kept++] = rows.values[i];
  }
  rows.times.resize(kept);
  rows.values.resize(kept);
}

// Of the series that say it themselves, which takes three stamps.
std::optional<Frequency> RowCollector::commonest_frequency() const {
  std::vector<std::pair<Frequency, std::int64_t>> found;
  for (const SeriesRows& rows : rows_) {
    if (rows.times.size() < 3) continue;
    const auto grid = infer_grid(head(rows.times), rows.kind);
    if (!grid) continue;
    const auto known = std::find_if(found.begin(), found.end(),
                                    [&](const auto& f) { return f.first == grid->frequency; });
    if (known == found.end()) {
      found.emplace_back(grid->frequency, 1);
    } else {
      ++known->second;
    }
  }
  const auto best = std::max_element(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return best == found.end() ? std::nullopt : std::optional(best->first);
}

Grid RowCollector::grid_of(const SeriesRows& rows, const std::optional<Frequency>& common) const {
  const auto mismatch = [&](const Frequency& f) {
    return (f.kind == Frequency::Kind::integer) != (rows.kind == StampKind::integer);
  };
  if (!setup_.frequency.empty()) {
    const Frequency f = frequency_named(setup_.frequency);
    require(!mismatch(f), ErrorCode::invalid_argument, "--freq ", setup_.frequency,
            ", but series \"", shown(rows.id), "\" has ",
            rows.kind == StampKind::integer ? "integers" : "dates", " as time stamps");
    return grid_with(f, head(rows.times));
  }
  const bool short_one = rows.times.size() < 3;
  if (!short_one || !common || mismatch(*common)) {
    if (const auto grid = infer_grid(head(rows.times), rows.kind)) return *grid;
  }
  if (common && !mismatch(*common)) {
    const Grid grid = grid_with(*common, head(rows.times));
    const bool folds = rows.times.size() == 2 &&
                       grid.slot_of(rows.times[0]).index == grid.slot_of(rows.times[1]).index;
    const auto own = folds ? infer_grid(rows.times, rows.kind) : std::nullopt;
    return own ? *own : grid;
  }
  if (short_one && rows.kind == StampKind::integer)
    return grid_with({Frequency::Kind::integer, 1, false}, rows.times);
  require(!short_one, ErrorCode::format, source_, ": series \"", shown(rows.id), "\" has ",
          count_of(std::ssize(rows.times), "time stamp"),
          ", too few to see how far apart they are; give --freq, for example --freq D");
  fail(ErrorCode::format, source_, ": the stamps of series \"", shown(rows.id), "\" (",
       stamp_text(rows.times[0], {rows.kind, {}}), ", ", stamp_text(rows.times[1], {rows.kind, {}}),
       ", ", stamp_text(rows.times[2], {rows.kind, {}}),
       " ...) lie on no regular grid; --freq D (or h, MS ...) puts them on one");
}

void RowCollector::place_on_grid(SeriesRows& rows, const Grid& grid, SeriesFile& to) {
  const auto seen = [](double x) { return !std::isnan(x); };
  const auto first = std::find_if(rows.values.begin(), rows.values.end(), seen);
  const auto last = std::find_if(rows.values.rbegin(), rows.values.rend(), seen).base();
  const auto from = static_cast<std::size_t>(first - rows.values.begin()),
             end = static_cast<std::size_t>(last - rows.values.begin());
  if (end < rows.values.size())
    note("series end in missing values; the forecast begins behind the last observation",
         "\"" + shown(rows.id) + "\"");
  const std::int64_t begin = grid.slot_of(rows.times[from]).index;
  const std::int64_t slots = grid.slot_of(rows.times[end - 1]).index - begin + 1;
  const auto count = static_cast<std::int64_t>(end - from);
  require(slots <= kSlotsPerRow * count + kSlotsAnyway, ErrorCode::format, source_, ": series \"",
          shown(rows.id), "\" has ", count, " values between ",
          stamp_text(rows.times[from], {rows.kind, {}}), " and ",
          stamp_text(rows.times[end - 1], {rows.kind, {}}), ", which are ", slots, " steps of ",
          name_of(grid.frequency), "; is a stamp wrong, or should --freq be longer?");
  points_ += slots;
  require(points_ <= 2 * setup_.max_points, ErrorCode::out_of_memory, source_,
          ": the gaps between stamps make more than ", 2 * setup_.max_points,
          " values; give a longer --freq, or a larger --max-points");
  TimeSeries series{rows.id, {grid.frequency, grid.at(begin)}, {rows.kind, {}}, {}};
  series.values.assign(static_cast<std::size_t>(slots), std::numeric_limits<double>::quiet_NaN());
  std::int64_t distinct = 0, previous = begin - 1;
  for (std::size_t i = from; i < end; ++i) {
    const Grid::Slot slot = grid.slot_of(rows.times[i]);
    const std::string* id = &rows.id;
    const auto place = [&] {
      return "series \"" + shown(*id) + "\" at " + stamp_text(rows.times[i], {rows.kind, {}});
    };
    if (!slot.exact) note("stamps lie off the grid and were moved onto it", place());
    if (slot.index == previous) note("of those share a slot; the last counts", place());
    distinct += slot.index != previous;
    previous = slot.index;
    double& value = series.values[static_cast<std::size_t>(slot.index - begin)];
    if (!std::isnan(rows.values[i])) value = rows.values[i];
  }
  const bool given = !setup_.frequency.empty();
  if (const std::int64_t gaps = slots - distinct; gaps > 0)
    note("series have gaps, which are read as missing values", "\"" + shown(rows.id) + "\" with " +
                                                                   count_of(gaps, "step") + " of " +
                                                                   std::to_string(slots));
  require(2 * distinct > count, given ? ErrorCode::invalid_argument : ErrorCode::format, source_,
          given ? ": --freq " : ": a step of ", name_of(grid.frequency), " puts ", count,
          " values of series \"", shown(rows.id), "\" into ", distinct,
          " slots; sum or average them first, or give a shorter --freq");
  to.series.push_back(std::move(series));
}

SeriesFile RowCollector::finish() {
  require(!rows_.empty(), ErrorCode::format, source_, " has no row of data");
  std::vector<StampStyle> styles;
  for (SeriesRows& rows : rows_) {
    styles.push_back(settle_clock(rows));
    sort_rows(rows);
  }
  std::optional<Frequency> common;
  if (setup_.frequency.empty()) common = commonest_frequency();
  SeriesFile file;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    SeriesRows& rows = rows_[i];
    if (std::all_of(rows.values.begin(), rows.values.end(),
                    [](double x) { return std::isnan(x); })) {
      note("series have no observation and are left out", "\"" + shown(rows.id) + "\"");
    } else {
      place_on_grid(rows, grid_of(rows, common), file);
      file.series.back().style = styles[i];
    }
    rows = {};
  }
  require(!file.series.empty(), ErrorCode::format, source_,
          ": every value is missing; is the right column read? (--target, --layout)");
  for (const Note& n : notes_)
    file.notes.push_back(std::to_string(n.count) + " " + n.what + " (first: " + n.first + ")");
  return file;
}

}  // namespace subquad
