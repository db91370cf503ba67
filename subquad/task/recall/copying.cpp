// Copy what lies among blanks, and say what followed the last time.
#include <algorithm>

#include "subquad/task/recall/recall.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {

std::unique_ptr<Task> make_selective_copying(const std::string& name, const TaskOptions& options) {
  constexpr std::int32_t kBlank = 0, kCopy = 1, kFirst = 2;
  TaskOptionReader reader(name, options.extra);
  const std::int64_t symbols = reader.integer("symbols", 14, 2, 1024, "different symbols to copy"),
                     items = reader.integer("items", 16, 2, 4096, "symbols to copy in a row");
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = symbols + kFirst,
            .classes = symbols,
            .batch_size = 16,
            .chance = 1 / static_cast<double>(symbols),
            .primary = "accuracy",
            .guide = {.input = "symbols scattered among blanks (.), the sign copy (:), as many "
                               "blanks as symbols",
                      .scored = "at these last blanks: the symbols in their order",
                      .source = "Poli et al. 2024 (arXiv:2403.17844)"}};
  t.shortest = 2 * items + 1;
  t.variable_length = false;
  apply_protocol(t,
                 {.train_length = std::max<std::int64_t>(256, t.shortest),
                  .multiple = 4,
                  .longest = 16,
                  .tokens = 4000000,
                  .few_rows = true},
                 reader);
  t.symbol = [](std::int32_t id) {
    return id == kBlank ? "." : id == kCopy ? ":" : std::to_string(id - kFirst);
  };
  t.answer = [](std::int32_t id) { return std::to_string(id); };
  t.row = [symbols, items](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                           std::span<std::int32_t> target) {
    const auto count = static_cast<std::size_t>(items), from = in.size() - count;
    std::size_t placed = 0;
    for (std::size_t i = 0; i + 1 < from; ++i) {  // each set of places is equally likely
      const auto left = static_cast<std::int64_t>(from - 1 - i);
      if (d.below(left) >= static_cast<std::int64_t>(count - placed)) continue;
      const std::int32_t symbol = d.id(symbols);
      in[i] = symbol + kFirst;
      target[from + placed++] = symbol;
    }
    in[from - 1] = kCopy;
  };
  return make_synthetic(std::move(t), reader, options);
}

std::unique_ptr<Task> make_induction_heads(const std::string& name, const TaskOptions& options) {
  TaskOptionReader reader(name, options.extra);
  const std::int64_t symbols = reader.integer("symbols", 16, 2, 4096, "beside the marker");
  const auto marker = static_cast<std::int32_t>(symbols);
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = symbols + 1,
            .classes = symbols + 1,
            .batch_size = 16,
            .chance = 1 / static_cast<double>(symbols),
            .primary = "accuracy",
            .guide = {.input = "uniform symbols, a marker (#) at a uniform place and once more at "
                               "the end",
                      .scored = "where a symbol has come before: what followed it last; the last "
                                "answer is what followed the marker",
                      .source = "Gu and Dao 2023 (arXiv:2312.00752): the final answer"}};
  t.shortest = 3;
  t.variable_length = false;
  apply_protocol(t, {.train_length = 64, .tokens = 2500000, .few_rows = true}, reader);
  t.symbol = [marker](std::int32_t id) {
    return id == marker ? std::string("#") : std::to_string(id);
  };
  t.row = [symbols, marker](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                            std::span<std::int32_t> target) {
    const std::size_t last = in.size() - 1;
    const auto place = static_cast<std::size_t>(d.below(static_cast<std::int64_t>(last) - 1));
    std::vector<std::size_t> after(static_cast<std::size_t>(symbols) + 1);  // 0: not yet seen
    for (std::size_t i = 0; i <= last; ++i) {
      in[i] = i == place || i == last ? marker : d.id(symbols);
      std::size_t& next = after[static_cast<std::size_t>(in[i])];
      if (next > 0) target[i] = in[next];
      next = i + 1;
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
