// Expressions modulo m, with and without brackets.
#include <algorithm>

#include "subquad/task/state_tracking/state_tracking.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

// Ids: the digits 0 .. m-1, then these.
struct Ids {
  std::int64_t m;
  std::int32_t plus() const { return static_cast<std::int32_t>(m); }
  std::int32_t minus() const { return plus() + 1; }
  std::int32_t times() const { return plus() + 2; }
  std::int32_t equals() const { return plus() + 3; }
  std::int32_t open() const { return plus() + 4; }
  std::int32_t close() const { return plus() + 5; }
  std::string text(std::int32_t id) const {
    return id < plus() ? std::to_string(id) : std::string(1, "+-*=()"[id - plus()]);
  }
};

std::int64_t apply(const Ids& ids, std::int32_t op, std::int64_t left, std::int64_t right) {
  if (op == ids.times()) return left * right % ids.m;
  return (left + (op == ids.plus() ? right : ids.m - right)) % ids.m;
}

// digit op digit op ... digit =, an even number of tokens (an odd length leaves its last column
// empty). Every digit and the sign = are scored with the value of all before.
void flat_row(const Ids& ids, std::int64_t operators, Draw& d, std::span<std::int32_t> in,
              std::span<std::int32_t> target) {
  std::int64_t sum = 0, product = 0;  // value = sum (+ or -) product
  std::int32_t sign = ids.plus(), op = ids.plus();
  for (std::size_t i = 0; i + 1 < in.size(); i += 2) {
    in[i] = d.id(ids.m);
    if (op == ids.times()) {
      product = product * in[i] % ids.m;
    } else {
      sum = apply(ids, sign, sum, product);
      sign = op;
      product = in[i];
    }
    target[i] = static_cast<std::int32_t>(apply(ids, sign, sum, product));
    const bool last = i + 3 >= in.size();
    in[i + 1] = op = last ? ids.equals() : ids.plus() + d.id(operators);
    if (last) target[i + 1] = target[i];
  }
}

// An expression of exactly n tokens, n >= 1: digit, -digit, (digit), (-digit), or ( L op R ) whose
// n-3 other tokens are divided uniformly. Without recursion: a long one can be deep.
void expression(const Ids& ids, std::int64_t operators, std::int64_t n, Draw& d,
                std::vector<std::int32_t>& out) {
  struct Piece {
    std::int64_t tokens;  // 0: the id alone
    std::int32_t id;
  };
  std::vector<Piece> todo = {{n, 0}};
  while (!todo.empty()) {
    const Piece p = todo.back();
    todo.pop_back();
    if (p.tokens == 0) {
      out.push_back(p.id);
    } else if (p.tokens <= 2) {
      if (p.tokens == 2) out.push_back(ids.minus());
      out.push_back(d.id(ids.m));
    } else {
      out.push_back(ids.open());
      todo.push_back({0, ids.close()});
      if (p.tokens <= 4) {
        todo.push_back({p.tokens - 2, 0});
      } else {
        const std::int64_t left = 1 + d.below(p.tokens - 4);
        todo.push_back({p.tokens - 3 - left, 0});
        todo.push_back({0, ids.plus() + d.id(operators)});
        todo.push_back({left, 0});
      }
    }
  }
}

// Every closing bracket and the sign = are scored with the value of what they close.
void bracket_row(const Ids& ids, std::int64_t operators, Draw& d, std::span<std::int32_t> in,
                 std::span<std::int32_t> target) {
  struct Open {
    std::int64_t value = 0;
    std::int32_t op;
    bool negative = false, has_value = false;
    void take(const Ids& ids, std::int64_t v) {
      if (negative) v = (ids.m - v) % ids.m;
      value = has_value ? apply(ids, op, value, v) : v;
      has_value = true;
      negative = false;
    }
  };
  std::vector<std::int32_t> tokens;
  expression(ids, operators, static_cast<std::int64_t>(in.size()) - 1, d, tokens);
  tokens.push_back(ids.equals());
  std::vector<Open> stack = {{.op = ids.plus()}};
  bool after_value = false;  // whether a - here joins two values
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::int32_t id = in[i] = tokens[i];
    if (id < ids.m) {
      stack.back().take(ids, id);
    } else if (id == ids.open()) {
      stack.push_back({.op = ids.plus()});
    } else if (id == ids.close()) {
      const std::int64_t v = stack.back().value;
      stack.pop_back();
      stack.back().take(ids, v);
      target[i] = static_cast<std::int32_t>(v);
    } else if (id == ids.equals()) {
      target[i] = static_cast<std::int32_t>(stack.back().value);
    } else if (after_value) {
      stack.back().op = id;
    } else {
      stack.back().negative = true;
    }
    after_value = id < ids.m || id == ids.close();
  }
}

}  // namespace

std::unique_ptr<Task> make_arithmetic(const std::string& name, const TaskOptions& options) {
  const bool brackets = name == "modular_arithmetic_brackets";
  TaskOptionReader reader(name, options.extra);
  const Ids ids{reader.integer("modulus", 5, 2, 64, "m; the digits are 0 to m-1")};
  const std::int64_t operators =
      reader.flag("times", !brackets, "whether * is among the operators") ? 3 : 2;
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = ids.m + (brackets ? 6 : 4),
            .classes = ids.m,
            .batch_size = 64,
            .chance = 1 / static_cast<double>(ids.m),
            .primary = "tail_accuracy"};
  TaskGuide& guide = t.spec.guide;
  if (brackets) {
    guide.input = "( L op R ) = with digits modulo m, -digit and brackets below, then =";
    guide.scored = "at ) and =, the value modulo m of what they close";
  } else {
    guide.input = "digit op digit op ... digit =, uniform; * binds tighter than + and -";
    guide.scored = "at digits and =, the value modulo m of the expression up to there";
  }
  guide.source = "Beck et al. 2024 (arXiv:2405.04517), Deletang et al. 2023 (arXiv:2207.02098)";
  t.padding = ids.equals();
  t.unscored_tail = 1;
  apply_protocol(
      t, {.final_answer = brackets, .curriculum = true, .multiple = 8, .tokens = 6000000}, reader);
  t.symbol = [ids](std::int32_t id) { return ids.text(id); };
  t.row = [ids, operators, brackets](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                                     std::span<std::int32_t> target) {
    (brackets ? bracket_row : flat_row)(ids, operators, d, in, target);
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
