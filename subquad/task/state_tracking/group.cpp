// Running products of permutations.
#include <algorithm>
#include <numeric>

#include "subquad/task/state_tracking/state_tracking.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

using Permutation = std::vector<int>;

struct GroupTask {
  const char* name;
  int points;
  bool even;  // even permutations only
  std::int64_t tokens;
  const char* source;
};
constexpr GroupTask kGroups[] = {
    {"s3", 3, false, 6000000,
     "Siems et al. 2025 (arXiv:2502.10297), Grazzi et al. 2025 (arXiv:2411.12537)"},
    {"a5", 5, true, 12000000, "Merrill et al. 2024 (arXiv:2404.08819)"},
    {"s5", 5, false, 12000000,
     "Grazzi et al. 2025 (arXiv:2411.12537), Siems et al. 2025 (arXiv:2502.10297)"}};

bool is_even(const Permutation& p) {
  int inversions = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t j = i + 1; j < p.size(); ++j) inversions += p[i] > p[j] ? 1 : 0;
  }
  return inversions % 2 == 0;
}

// Elements (even ones first, each part in lexicographic order, so that 0 is the identity) and
// product[x * order + s]: first s, then x.
struct Group {
  std::vector<Permutation> elements;
  std::vector<std::int32_t> product;
};

Group group_of(const GroupTask& g) {
  Group group;
  Permutation p(static_cast<std::size_t>(g.points));
  for (const bool even : {true, false}) {
    if (!even && g.even) continue;
    std::iota(p.begin(), p.end(), 0);
    do {
      if (is_even(p) == even) group.elements.push_back(p);
    } while (std::next_permutation(p.begin(), p.end()));
  }
  for (const Permutation& x : group.elements) {
    for (const Permutation& s : group.elements) {
      for (std::size_t i = 0; i < p.size(); ++i) p[i] = x[static_cast<std::size_t>(s[i])];
      group.product.push_back(static_cast<std::int32_t>(
          std::find(group.elements.begin(), group.elements.end(), p) - group.elements.begin()));
    }
  }
  return group;
}

// Ids of the permutations that move at most two points.
std::vector<std::int32_t> swaps(const Group& group) {
  std::vector<std::int32_t> ids;
  for (std::size_t e = 0; e < group.elements.size(); ++e) {
    int moved = 0;
    for (std::size_t i = 0; i < group.elements[e].size(); ++i)
      moved += group.elements[e][i] != static_cast<int>(i) ? 1 : 0;
    if (moved <= 2) ids.push_back(static_cast<std::int32_t>(e));
  }
  return ids;
}

std::string text_of(const Permutation& p) {
  std::string s;
  for (const int i : p) s += std::to_string(i);
  return s;
}

}  // namespace

std::unique_ptr<Task> make_group(const std::string& name, const TaskOptions& options) {
  const GroupTask& g = *std::find_if(std::begin(kGroups), std::end(kGroups),
                                     [&](const GroupTask& k) { return name == k.name; });
  TaskOptionReader reader(name, options.extra);
  Group group = group_of(g);
  const auto order = static_cast<std::int64_t>(group.elements.size());
  std::vector<std::int32_t> inputs(group.elements.size());
  std::iota(inputs.begin(), inputs.end(), 0);
  if (!g.even &&
      reader.choice("elements", "all", {"all", "swaps"},
                    "every element, or the identity and the swaps of two points") == "swaps")
    inputs = swaps(group);
  const auto every = static_cast<std::size_t>(
      reader.integer("tokens_per_element", 1, 1, 8,
                     "an element is followed by empty tokens, and scored at the last of them"));
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = static_cast<std::int64_t>(inputs.size()) + (every > 1 ? 1 : 0),
            .classes = order,
            .batch_size = 64,
            .chance = 1 / static_cast<double>(order),
            .primary = "tail_accuracy",
            .guide = {.input = "uniform permutations (where 0, 1, 2 ... go), the identity included",
                      .scored = "the product so far: the last one applied after all before it",
                      .source = g.source}};
  t.shortest = static_cast<std::int64_t>(every);
  t.unscored_tail = t.shortest - 1;
  apply_protocol(t, {.curriculum = true, .multiple = 32, .tokens = g.tokens}, reader);
  const auto table = std::make_shared<const Group>(std::move(group));
  t.symbol = [table, inputs](std::int32_t id) {
    const auto i = static_cast<std::size_t>(id);
    return i < inputs.size() ? text_of(table->elements[static_cast<std::size_t>(inputs[i])]) : "-";
  };
  t.answer = [table](std::int32_t id) {
    return text_of(table->elements[static_cast<std::size_t>(id)]);
  };
  t.row = [table, inputs, every, order](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                                        std::span<std::int32_t> target) {
    const auto kinds = static_cast<std::int64_t>(inputs.size());
    std::int64_t state = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = static_cast<std::int32_t>(kinds);
      if (i % every == 0) {
        in[i] = d.id(kinds);
        const std::int64_t x = inputs[static_cast<std::size_t>(in[i])];
        state = table->product[static_cast<std::size_t>(x * order + state)];
      }
      if (i % every == every - 1) target[i] = static_cast<std::int32_t>(state);
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
