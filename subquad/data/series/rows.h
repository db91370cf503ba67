// From rows in any order to series on grids: what read.cpp feeds and series.h promises.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "subquad/data/series/series.h"

namespace subquad {

// The rows of one series as they come.
struct SeriesRows {
  std::string id;
  std::vector<std::int64_t> times;
  std::vector<double> values;
  std::vector<std::int16_t> offsets;  // minutes; empty: none had one
  StampKind kind = StampKind::integer;
};

class RowCollector {
 public:
  RowCollector(std::string source, const ReadSetup& setup);

  std::size_t series_named(std::string_view id);
  // `place` says where, for errors and notes; it is called only then.
  template <class Place>
  void add(std::size_t series, const Stamp& stamp, double value, Place&& place) {
    if (!accepts(rows_[series], stamp)) refuse(rows_[series], stamp, place());
    push(rows_[series], stamp, value);
  }
  void note(const std::string& what, const std::string& place);
  SeriesFile finish();

 private:
  struct Note {
    std::string what, first;
    std::int64_t count = 0;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };

  bool accepts(const SeriesRows& rows, const Stamp& stamp) const;
  [[noreturn]] void refuse(const SeriesRows& rows, const Stamp& stamp,
                           const std::string& place) const;
  void push(SeriesRows& rows, const Stamp& stamp, double value);
  void sort_rows(SeriesRows& rows);
  std::optional<Frequency> commonest_frequency() const;
  Grid grid_of(const SeriesRows& rows, const std::optional<Frequency>& common) const;
  void place_on_grid(SeriesRows& rows, const Grid& grid, SeriesFile& to);
  StampStyle settle_clock(SeriesRows& rows) const;

  std::string source_;
  ReadSetup setup_;
  std::vector<SeriesRows> rows_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
  std::size_t last_ = 0;
  std::vector<Note> notes_;
  std::int64_t points_ = 0;
};

}  // namespace subquad
