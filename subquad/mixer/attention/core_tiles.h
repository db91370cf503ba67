// Which (query, key) pairs the tiled attention forms. Everything is relative to the first query of
// a tile: query r in [0, count) stands at r, and key x counts from it too (earlier keys are
// negative). Scores are formed in squares of `band` keys and queries; those with no visible pair
// are skipped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "subquad/base/round.h"

namespace subquad {

// Register tiles of the instruction set in use: vectors of `lanes` floats, and bands of two tiles
// of `rows` rows, which hold whole vectors.
struct AttentionTiles {
  std::int64_t rows = 4, lanes = 8;
  constexpr std::int64_t band() const { return 2 * rows; }
};
AttentionTiles attention_core_tiles();

// Scores are in units of ln 2, which saves the exponential a reduction.
constexpr float kLog2E = 1.44269504F, kLn2 = 0.693147181F;
constexpr float score_scale(double scale) { return static_cast<float>(scale) * kLog2E; }

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end > begin ? end - begin : 0; }
};

struct TileGeometry {
  AttentionTiles tiles;
  std::int64_t count = 0;   // queries
  std::int64_t lowest = 0;  // first key of the document
  // No window is one so wide that it hides nothing, and so narrow that no sum with it overflows.
  std::int64_t window = std::numeric_limits<std::int64_t>::max() / 4;

  std::int64_t columns() const { return round_up(count, tiles.band()); }
  // All keys of the tile: from a whole number of bands before it to the last band with a query.
  Range keys() const { return {round_down(std::max(lowest, 1 - window), tiles.band()), columns()}; }
  // Queries whose scores with the band of keys at x are formed.
  Range queries_of_band(std::int64_t x) const {
    const std::int64_t band = tiles.band(), last = x + band - 1 + window - 1;
    return {round_down(std::max<std::int64_t>(x, 0), band),
            std::min(columns(), round_down(last, band) + band)};
  }
  // Keys whose scores with the query at c are formed.
  Range keys_of_column(std::int64_t c) const {
    const std::int64_t band = tiles.band(), first = round_down(c, band);
    return {round_down(std::max(lowest, first - window + 1), band), first + band};
  }
  // Those of them that every query of the vector at c sees.
  Range plain_keys_of_vector(std::int64_t c) const {
    return {std::max(lowest, c + tiles.lanes - window), c + 1};
  }
  // Keys that one of the queries [r, r + n) sees.
  Range keys_of_queries(std::int64_t r, std::int64_t n) const {
    return {std::max(lowest, r - window + 1), r + n};
  }
  // Queries that see one of the keys [x, x + n).
  Range queries_of_keys(std::int64_t x, std::int64_t n) const {
    return {std::max<std::int64_t>(x, 0), std::min(count, x + n - 1 + window)};
  }
};

}  // namespace subquad
