// Multi-query associative recall: pairs of key and value, then each key once more.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/task/recall/recall.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

// Pairs and length of the paper's grid: Arora et al. 2024 (BASED), figure 2. Training batches are
// of the first three lengths, and at 256 of 16, 32 or 64 pairs.
struct Grid {
  std::int64_t length, pairs, rows, weight;
};
constexpr Grid kGrid[] = {
    {64, 4, 256, 5}, {128, 8, 256, 1}, {256, 16, 128, 3}, {512, 64, 64, 0}, {1024, 256, 32, 0}};
constexpr std::int64_t kGridSteps = 20000, kGridBatch = 64;

struct Layout {
  std::int64_t half = 0;  // keys 1 .. half, values half+1 .. 2 half, filler 0
  bool power = false;     // gaps
  bool distinct = false;  // values without replacement
};

// Moves `count` of `from`, drawn without replacement, to its front.
template <class T>
void shuffle_front(std::vector<T>& from, std::size_t count, Draw& d) {
  for (std::size_t i = 0; i < count; ++i)
    std::swap(
        from[i],
        from[i + static_cast<std::size_t>(d.below(static_cast<std::int64_t>(from.size() - i)))]);
}

// Places of the queries, `pairs` even offsets behind the pairs without replacement, the g-th (g from
// 1) with a weight of g^-0.99: most come early. The smallest -log(u) / weight are such a draw.
// Source: Arora et al. 2023 (arXiv:2312.04927); Efraimidis and Spirakis 2006.
std::vector<std::size_t> power_slots(std::size_t first, std::size_t columns, std::size_t pairs,
                                     Draw& d) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t at = first; at + 1 < columns; at += 2) {
    const auto g = static_cast<double>((at - first) / 2 + 1);
    order.emplace_back(-std::log1p(-d.uniform()) * std::pow(g, 0.99), at);
  }
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(pairs), order.end());
  std::vector<std::size_t> slots;
  for (std::size_t p = 0; p < pairs; ++p) slots.push_back(order[p].second);
  return slots;
}

void mqar_row(const Layout& layout, std::size_t pairs, Draw& d, std::span<std::int32_t> in,
              std::span<std::int32_t> target) {
  std::vector<std::int32_t> keys(static_cast<std::size_t>(layout.half));
  std::iota(keys.begin(), keys.end(), 1);
  std::vector<std::int32_t> values(layout.distinct ? keys.size() : 0);
  std::iota(values.begin(), values.end(), static_cast<std::int32_t>(layout.half + 1));
  if (layout.distinct) shuffle_front(values, pairs, d);
  std::vector<std::size_t> slots;
  if (layout.power) {
    slots = power_slots(2 * pairs, in.size(), pairs, d);
  } else {
    slots.resize(in.size() - 2 * pairs);
    std::iota(slots.begin(), slots.end(), 2 * pairs);
  }
  for (std::size_t p = 0; p < pairs; ++p) {
    const auto left = static_cast<std::int64_t>(p);
    std::swap(keys[p], keys[p + static_cast<std::size_t>(d.below(layout.half - left))]);
    if (!layout.power) {
      const auto free = static_cast<std::int64_t>(slots.size()) - left;
      std::swap(slots[p], slots[p + static_cast<std::size_t>(d.below(free))]);
    }
    const std::int32_t value =
        layout.distinct ? values[p]
                        : static_cast<std::int32_t>(layout.half + 1 + d.below(layout.half));
    in[2 * p] = keys[p];
    in[2 * p + 1] = value;
    in[slots[p]] = keys[p];
    target[slots[p]] = value;
  }
}

std::int64_t grid_pairs(const RowRequest& request, Draw& d) {
  if (request.training && request.length == 256) return std::int64_t{16} << d.below(3);
  std::int64_t pairs = kGrid[0].pairs;
  for (const Grid& g : kGrid) {
    if (request.length >= g.length) pairs = g.pairs;
  }
  return pairs;
}

void use_grid(SyntheticTask& t) {
  TaskSpec& s = t.spec;
  s.lengths.clear();
  t.rows.clear();
  for (const Grid& g : kGrid) {
    s.lengths.push_back(g.length);
    t.rows.push_back(g.rows);
    if (g.weight > 0) t.mix.push_back({g.length, g.weight});
  }
  s.train_length = 256;
  s.primary_length = 512;
  s.batch_size = kGridBatch;
  s.default_tokens = kGridSteps * kGridBatch * s.train_length;
}

}  // namespace

std::unique_ptr<Task> make_mqar(const std::string& name, const TaskOptions& options) {
  TaskOptionReader reader(name, options.extra);
  const bool grid = reader.choice("grid", "none", {"none", "paper"},
                                  "or mixed training at 64, 128, 256 tokens with 4 to 64 pairs, "
                                  "tested up to 1024 tokens with 256 pairs") == "paper";
  const std::int64_t vocabulary =
      reader.integer("vocabulary", grid ? 8192 : 64, 4, 65536, "keys and values, half each");
  Layout layout{.half = vocabulary / 2, .power = grid, .distinct = grid};
  if (vocabulary % 2 != 0)
    reader.wrong("vocabulary", "got " + std::to_string(vocabulary) + ", wanted an even number");
  std::int64_t pairs = grid ? 4 : 8, tested = pairs;
  if (!grid) {
    pairs = reader.integer("pairs", pairs, 1, 4096, "of key and value in training");
    tested = reader.integer("test_pairs", pairs, 1, 4096, "and in evaluation");
    layout.power =
        reader.choice("gaps", "uniform", {"uniform", "power"},
                      "places of the queries: anywhere, or most of them early") == "power";
  }
  const std::int64_t most = grid ? 256 : std::max(pairs, tested);
  if (most > layout.half) {
    reader.wrong("vocabulary", std::to_string(layout.half) + " keys are too few for " +
                                   std::to_string(most) + " pairs; wanted " +
                                   std::to_string(2 * most) + " or more");
  }
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = vocabulary + 1,
            .classes = vocabulary + 1,
            .batch_size = 16,
            .chance = 1 / static_cast<double>(layout.half),
            .primary = "accuracy",
            .guide = {.input = "pairs of a key and a value (all keys differ), then filler (.) in "
                               "which each key comes once more",
                      .scored = "where a key comes again: its value",
                      .source = "Arora et al. 2023 (arXiv:2312.04927); grid: Arora et al. 2024 "
                                "(arXiv:2402.18668)"}};
  t.shortest = grid ? 64 : most * (layout.power ? 4 : 3);
  t.variable_length = false;
  apply_protocol(t,
                 {.train_length = grid ? 256 : std::max<std::int64_t>(64, t.shortest),
                  .tokens = 2500000,
                  .few_rows = true},
                 reader);
  if (grid) {
    if (t.spec.train_length != 256) reader.wrong("train_length", "the paper's grid has its own");
    use_grid(t);
  }
  const auto half = static_cast<std::int32_t>(layout.half);
  t.symbol = [half](std::int32_t id) {
    return id == 0 ? std::string(".")
                   : (id <= half ? "k" : "v") + std::to_string(id <= half ? id : id - half);
  };
  t.row = [layout, pairs, tested, grid](Draw& d, const RowRequest& request,
                                        std::span<std::int32_t> in,
                                        std::span<std::int32_t> target) {
    const std::int64_t count = grid ? grid_pairs(request, d) : request.training ? pairs : tested;
    mqar_row(layout, static_cast<std::size_t>(count), d, in, target);
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
