// Sums modulo m, and the bit of even pairs.
#include <algorithm>

#include "subquad/task/state_tracking/state_tracking.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

struct Cyclic {
  const char* name;
  bool ring;  // steps 0, +1, -1; otherwise the numbers 0 .. m-1
  std::int64_t modulus;
  bool fixed;  // the modulus is no option
  bool curriculum;
  std::int64_t batch_size, tokens;
  const char *input, *scored, *source;
};
constexpr Cyclic kCyclic[] = {
    {"parity", false, 2, true, false, 32, 800000, "uniform bits",
     "the number of ones so far, modulo 2",
     "Beck et al. 2024 (arXiv:2405.04517), Grazzi et al. 2025 (arXiv:2411.12537)"},
    {"modular_addition", false, 5, false, true, 64, 6000000, "uniform numbers 0 to m-1",
     "their sum so far, modulo m",
     "Grazzi et al. 2025 (arXiv:2411.12537); m = 60 is the abelian control of A5 in Merrill et "
     "al. 2024 (arXiv:2404.08819)"},
    {"cycle_navigation", true, 5, false, true, 64, 6000000,
     "uniform steps on a ring of m places: stay, forward, back", "the place after each step",
     "Deletang et al. 2023 (arXiv:2207.02098)"}};

}  // namespace

std::unique_ptr<Task> make_cyclic(const std::string& name, const TaskOptions& options) {
  const Cyclic& c = *std::find_if(std::begin(kCyclic), std::end(kCyclic),
                                  [&](const Cyclic& k) { return name == k.name; });
  TaskOptionReader reader(name, options.extra);
  const std::int64_t m =
      c.fixed ? c.modulus
              : reader.integer("modulus", c.modulus, 2, 1024, "m, the number of states");
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = c.ring ? 3 : m,
            .classes = m,
            .batch_size = c.batch_size,
            .chance = 1 / static_cast<double>(m),
            .primary = "tail_accuracy",
            .guide = {.input = c.input, .scored = c.scored, .source = c.source}};
  const std::int64_t inputs = t.spec.vocabulary;
  apply_protocol(t, {.curriculum = c.curriculum, .multiple = 32, .tokens = c.tokens}, reader);
  if (c.ring) {
    t.symbol = [](std::int32_t id) { return std::string(id == 0 ? "0" : id == 1 ? "+" : "-"); };
    t.answer = [](std::int32_t id) { return std::to_string(id); };
  }
  t.row = [m, inputs, ring = c.ring](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                                     std::span<std::int32_t> target) {
    std::int64_t state = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = d.id(inputs);
      state = (state + (ring && in[i] == 2 ? m - 1 : in[i])) % m;
      target[i] = static_cast<std::int32_t>(state);
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

std::unique_ptr<Task> make_even_pairs(const std::string& name, const TaskOptions& options) {
  TaskOptionReader reader(name, options.extra);
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = 2,
            .classes = 2,
            .chance = 0.5,
            .primary = "tail_accuracy",
            .guide = {.input = "uniform letters a and b",
                      .scored = "1 where the letter equals the first one, from the second letter "
                                "on: as many pairs ab as ba lie between",
                      .source = "Deletang et al. 2023 (arXiv:2207.02098)"}};
  apply_protocol(t, {.multiple = 2}, reader);
  t.symbol = [](std::int32_t id) { return std::string(id == 0 ? "a" : "b"); };
  t.answer = [](std::int32_t id) { return std::to_string(id); };
  t.row = [](Draw& d, const RowRequest&, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = d.id(2);
      if (i > 0) target[i] = in[i] == in[0] ? 1 : 0;
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
