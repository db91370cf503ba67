#include "subquad/mixer/slstm/row_tiles.h"

#include <algorithm>
#include <numeric>

namespace subquad {
namespace {

std::vector<Stretch> stretches(const Spans& spans, const RowTile& tile) {
  std::vector<std::int64_t> borders;
  for (std::int64_t s = 0; s < tile.count; ++s) {
    for (const Span& span : spans.row(tile.row[static_cast<std::size_t>(s)])) {
      borders.push_back(span.begin);
      borders.push_back(span.end);
    }
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  std::vector<Stretch> list;
  std::array<std::size_t, kSlstmTileRows> next{};  // span of each slot
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    Stretch s{borders[i], borders[i + 1]};
    while (s.active < tile.count && tile.length[static_cast<std::size_t>(s.active)] > s.begin) {
      const auto slot = static_cast<std::size_t>(s.active++);
      const auto row = spans.row(tile.row[slot]);
      while (row[next[slot]].end <= s.begin) ++next[slot];
      const Span& span = row[next[slot]];
      s.reset[slot] = span.reset && span.begin == s.begin;
    }
    list.push_back(s);
  }
  return list;
}

}  // namespace

std::vector<RowTile> slstm_row_tiles(const Spans& spans, std::int64_t heads) {
  const std::int64_t batch = spans.batch();
  std::vector<std::int64_t> order(static_cast<std::size_t>(batch));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return spans.valid_length(a) > spans.valid_length(b);
  });
  const auto tasks = [&](std::int64_t size) { return (batch + size - 1) / size * heads; };
  std::int64_t size = kSlstmTileRows;
  while (size > 1 && tasks(size) < (size > 4 ? 8 : 4)) size /= 2;
  const std::int64_t count = (batch + size - 1) / size;
  std::vector<RowTile> tiles;
  for (std::int64_t i = 0; i < count; ++i) {
    RowTile tile;
    for (std::int64_t r = batch * i / count; r < batch * (i + 1) / count; ++r) {
      const auto slot = static_cast<std::size_t>(tile.count++);
      tile.row[slot] = order[static_cast<std::size_t>(r)];
      tile.length[slot] = spans.valid_length(tile.row[slot]);
      tile.consecutive &= tile.row[slot] == tile.row[0] + tile.count - 1;
    }
    tile.stretches = stretches(spans, tile);
    tiles.push_back(std::move(tile));
  }
  return tiles;
}

}  // namespace subquad
