#include "subquad/data/split.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "subquad/base/rng.h"
#include "subquad/base/text.h"

namespace subquad {
namespace {

constexpr const char* kNames[] = {"train", "validation", "test"};
constexpr std::int64_t kLeastBytes = 1025;  // what a corpus refuses to be without

std::uint64_t digest(const std::string& unit) { return stream_id("split/" + unit) >> 13; }

struct Unit {
  std::string name;
  std::int64_t bytes = 0;
  int split = 0;
};

// Documents of one unit stay together. False: the units are too coarse (nothing was changed).
bool split_units(std::vector<Document>& documents, bool by_project, std::string& moved_text) {
  std::map<std::string, Unit> units;
  std::int64_t total = 0;
  for (const Document& d : documents) {
    const std::string& name = by_project ? d.project : d.name;
    const auto bytes = static_cast<std::int64_t>(d.text.size()) + 1;  // and its separator
    units[name].name = name;
    units[name].bytes += bytes;
    total += bytes;
  }
  std::array<std::int64_t, 3> sizes{};
  std::vector<Unit*> order;
  for (auto& [name, unit] : units) {
    const std::uint64_t h = digest(name) % 10;
    if (unit.bytes * 5 <= total) unit.split = h == 0 ? 2 : h == 1 ? 1 : 0;
    sizes[static_cast<std::size_t>(unit.split)] += unit.bytes;
    order.push_back(&unit);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Unit* a, const Unit* b) { return digest(a->name) < digest(b->name); });
  const std::int64_t least = std::max(kLeastBytes, total / 20), aim = std::max(least, total / 10);
  for (const std::size_t s : {std::size_t{2}, std::size_t{1}}) {
    if (sizes[s] >= least) continue;
    std::int64_t moved = 0;
    for (Unit* unit : order) {
      if (sizes[s] >= aim) break;
      if (unit->split != 0 || sizes[s] + unit->bytes > 2 * aim) continue;
      unit->split = static_cast<int>(s);
      sizes[s] += unit->bytes;
      sizes[0] -= unit->bytes;
      ++moved;
    }
    if (sizes[s] < least) return false;
    moved_text += "; " + count_of(moved, by_project ? "project" : "file") +
                  " moved from train to " + kNames[s] + ", which was too small";
  }
  if (sizes[0] * 2 < total) return false;
  for (Document& d : documents) d.split = units[by_project ? d.project : d.name].split;
  return true;
}

void split_positions(std::vector<Document>& documents) {
  std::vector<Document> whole;
  std::swap(whole, documents);
  for (const Document& d : whole) {
    const std::size_t n = d.text.size(), a = line_border(d.text, n * 8 / 10),
                      b = std::max(a, line_border(d.text, n * 9 / 10));
    const std::pair<std::size_t, std::size_t> cuts[] = {{0, a}, {a, b}, {b, n}};
    for (int s = 0; s < 3; ++s) {
      const auto [from, to] = cuts[s];
      if (from < to) documents.push_back({d.name, d.text.substr(from, to - from), d.project, s});
    }
  }
}

}  // namespace

std::size_t line_border(const std::string& text, std::size_t at) {
  const std::size_t end = text.find('\n', at);
  return end == std::string::npos || end - at > 200 ? at : end + 1;
}

std::string assign_splits(std::vector<Document>& documents) {
  if (documents.size() < 3) {
    split_positions(documents);
    return "fewer than three files: each by position, 80 % / 10 % / 10 %";
  }
  std::set<std::string> projects;
  for (const Document& d : documents) projects.insert(d.project);
  std::string moved;
  const bool many = projects.size() >= 6;
  if (many && split_units(documents, true, moved)) return "by project (top-level folder)" + moved;
  moved.clear();
  if (split_units(documents, false, moved)) {
    return (many ? "by file (whole top-level folders are too unequal)"
                 : "by file (fewer than six top-level folders)") +
           moved;
  }
  split_positions(documents);
  return "each file by position, 80 % / 10 % / 10 % (whole files are too few or too unequal)";
}

}  // namespace subquad
