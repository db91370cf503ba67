// State-based recall: follow which address a variable holds through swaps, then look the bit at
// that address up.
#include <algorithm>
#include <array>
#include <numeric>

#include "subquad/task/recall/recall.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

constexpr std::int32_t kInit = 1, kOps = 2, kQuery = 3, kBit = 4, kVariable = 6, kAddress = 11;
constexpr std::size_t kVariables = 5;
constexpr std::int64_t kFixed = 1 + 2 * kVariables + 1 + 2;  // tokens beside bits and swaps
constexpr std::int64_t kLeastSwaps = 4, kMostSwaps = 16;     // in training

std::string token_text(std::int32_t id) {
  if (id >= kAddress) return "@" + std::to_string(id - kAddress);
  if (id >= kVariable) return std::string(1, "abcde"[id - kVariable]);
  if (id >= kBit) return std::to_string(id - kBit);
  constexpr const char* kWords[] = {"_", "init", "ops", "query"};
  return kWords[id];
}

// bits (from half of `most` to `most` of them), a variable and its address five times, swaps, query
void state_row(std::int64_t most, Draw& d, const RowRequest& request, std::span<std::int32_t> in,
               std::span<std::int32_t> target) {
  const std::int64_t fit = (request.length - kFixed - most) / 2;
  const std::int64_t bits = most / 2 + d.below(most - most / 2 + 1);
  const std::int64_t swaps = request.training ? kLeastSwaps + d.below(fit - kLeastSwaps + 1) : fit;
  std::size_t at = 0;
  in[at++] = kInit;
  for (std::int64_t i = 0; i < bits; ++i) in[at++] = kBit + d.id(2);
  std::vector<std::int32_t> address(static_cast<std::size_t>(bits));
  std::iota(address.begin(), address.end(), 0);
  for (std::size_t v = 0; v < kVariables; ++v) {
    const std::int64_t left = bits - static_cast<std::int64_t>(v);
    std::swap(address[v], address[v + static_cast<std::size_t>(d.below(left))]);
    in[at++] = kVariable + static_cast<std::int32_t>(v);
    in[at++] = kAddress + address[v];
  }
  const auto bit_of = [&](std::size_t v) {
    return in[1 + static_cast<std::size_t>(address[v])] - kBit;
  };
  in[at++] = kOps;
  for (std::int64_t s = 0; s < swaps; ++s) {
    const auto a = static_cast<std::size_t>(d.below(kVariables));
    const std::size_t b = (a + 1 + static_cast<std::size_t>(d.below(kVariables - 1))) % kVariables;
    std::swap(address[a], address[b]);
    in[at++] = kVariable + static_cast<std::int32_t>(a);
    in[at] = kVariable + static_cast<std::int32_t>(b);
    target[at++] = bit_of(b);
  }
  in[at++] = kQuery;
  const auto asked = static_cast<std::size_t>(d.below(kVariables));
  in[at] = kVariable + static_cast<std::int32_t>(asked);
  target[at] = bit_of(asked);
}

// Whether the variable that is asked for last has another address than at first.
bool moved(std::span<const std::int32_t> row) {
  std::array<std::size_t, kVariables> holds{};
  std::iota(holds.begin(), holds.end(), 0);  // whose first address a variable has
  auto at = static_cast<std::size_t>(std::find(row.begin(), row.end(), kOps) - row.begin()) + 1;
  for (; row[at] != kQuery; at += 2)
    std::swap(holds[static_cast<std::size_t>(row[at] - kVariable)],
              holds[static_cast<std::size_t>(row[at + 1] - kVariable)]);
  const auto asked = static_cast<std::size_t>(row[at + 1] - kVariable);
  return holds[asked] != asked;
}

void moved_accuracy(std::int64_t length, std::span<const Scored> batches,
                    std::vector<Metric>& metrics) {
  const auto columns = static_cast<std::size_t>(length);
  double right[2] = {}, count[2] = {};  // not moved, moved
  for (const Scored& s : batches) {
    const auto in = s.batch.inputs.host<std::int32_t>(),
               target = s.batch.targets.host<std::int32_t>();
    for (std::size_t row = 0; row < in.size(); row += columns) {
      std::size_t last = row + columns - 1;
      while (target[last] < 0) --last;
      const int m = moved(in.subspan(row, columns)) ? 1 : 0;
      count[m] += 1;
      right[m] += s.predicted[last] == target[last] ? 1 : 0;
    }
  }
  if (count[1] > 0) metrics.push_back({"moved_accuracy", right[1] / count[1], "", true});
  if (count[0] > 0) metrics.push_back({"unmoved_accuracy", right[0] / count[0], "", true});
}

}  // namespace

std::unique_ptr<Task> make_state_recall(const std::string& name, const TaskOptions& options) {
  TaskOptionReader reader(name, options.extra);
  const std::int64_t most =
      reader.integer("bits", 32, 10, 4096, "most bits of a row; the least are half as many");
  SyntheticTask t;
  t.spec = {
      .name = name,
      .vocabulary = kAddress + most,
      .classes = 2,
      .batch_size = 32,
      .chance = 0.5,
      .primary = "accuracy",
      .guide = {.input = "bits; five variables (a to e) with an address each; pairs of variables "
                         "that swap their addresses; a query of one variable",
                .scored = "at the query, the bit at the variable's address (dense: also of the "
                          "second variable of every swap); moved_accuracy: where the address is "
                          "not its first one",
                .source = "Merrill et al. 2026 (arXiv:2604.03444); the layout is ours"}};
  t.shortest = kFixed + most + 2 * kLeastSwaps;
  t.variable_length = false;
  t.extra = moved_accuracy;
  apply_protocol(t,
                 {.train_length = kFixed + most + 2 * kMostSwaps,
                  .final_answer = true,
                  .tokens = 5000000,
                  .few_rows = true},
                 reader);
  t.symbol = token_text;
  t.answer = [](std::int32_t id) { return std::to_string(id); };
  t.row = [most](Draw& d, const RowRequest& request, std::span<std::int32_t> in,
                 std::span<std::int32_t> target) { state_row(most, d, request, in, target); };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
