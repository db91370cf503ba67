// Which rows of a batch the sLSTM advances together, and when they start and end.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "subquad/backend/segments.h"

namespace subquad {

constexpr std::int64_t kSlstmTileRows = 8;

// Positions [begin, end) at which the first `active` slots of a tile have tokens and no state is
// reset after begin.
struct Stretch {
  std::int64_t begin = 0, end = 0, active = 0;
  std::array<bool, kSlstmTileRows> reset{};  // slots whose state is zeroed just before begin
};

// Up to kSlstmTileRows rows in slots, longest first, so that those with tokens are a prefix at any
// time.
struct RowTile {
  std::int64_t count = 0;
  std::array<std::int64_t, kSlstmTileRows> row{}, length{};
  std::vector<Stretch> stretches;  // in order of time; positions past them are padding
  bool consecutive = true;         // slot s holds row[0] + s

  std::int64_t tokens() const {
    std::int64_t sum = 0;
    for (const Stretch& s : stretches) sum += (s.end - s.begin) * s.active;
    return sum;
  }
};

// All rows in tiles of nearly equal size: of eight rows if that leaves eight tasks of one tile and
// head, of four if that leaves four, else smaller.
std::vector<RowTile> slstm_row_tiles(const Spans& spans, std::int64_t heads);

}  // namespace subquad
