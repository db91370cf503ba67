// Targets of every generated task against its definition, written down again here in the plainest
// way: from the inputs of a row alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>

#include "tests/unit/synthetic_variants.h"

namespace subquad {
namespace {

using Ids = std::vector<std::int32_t>;

// target[i] = answer(i), -1 where it is not scored.
Ids at_every_position(const Ids& in, const std::function<std::int32_t(std::size_t)>& answer) {
  Ids out;
  for (std::size_t i = 0; i < in.size(); ++i) out.push_back(answer(i));
  return out;
}

std::int32_t count_before(const Ids& in, std::size_t i, std::int32_t id) {
  return static_cast<std::int32_t>(
      std::count(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(i) + 1, id));
}

Ids cyclic(const Variant& v, const Ids& in) {
  const auto m = static_cast<std::int32_t>(v.extra.get("modulus", v.task == "parity" ? 2 : 5));
  return at_every_position(in, [&](std::size_t i) {
    std::int32_t sum = 0;
    if (v.task == "cycle_navigation") {
      sum = count_before(in, i, 1) - count_before(in, i, 2);
    } else {
      for (std::size_t j = 0; j <= i; ++j) sum += in[j];
    }
    return ((sum % m) + m) % m;
  });
}

// All permutations of n points by insertion, even ones (n minus the number of cycles is even)
// first, sorted as texts within each part.
std::vector<std::string> permutations(int n, bool even_only) {
  std::vector<std::string> all = {""};
  for (int k = 0; k < n; ++k) {
    std::vector<std::string> longer;
    for (const std::string& p : all) {
      for (std::size_t at = 0; at <= p.size(); ++at) {
        std::string q = p;
        q.insert(at, 1, static_cast<char>('0' + k));
        longer.push_back(q);
      }
    }
    all = longer;
  }
  const auto odd = [](const std::string& p) {
    std::set<std::size_t> seen;
    std::size_t cycles = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      cycles += seen.contains(i) ? 0 : 1;
      for (std::size_t j = i; seen.insert(j).second;) j = static_cast<std::size_t>(p[j] - '0');
    }
    return (p.size() - cycles) % 2 == 1;
  };
  std::sort(all.begin(), all.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(odd(a), a) < std::pair(odd(b), b);
  });
  if (even_only) std::erase_if(all, odd);
  return all;
}

// Every point is carried through all elements one by one.
Ids group(const Variant& v, const Ids& in) {
  const int points = v.task == "s3" ? 3 : 5;
  const std::vector<std::string> elements = permutations(points, v.task == "a5");
  std::vector<std::string> inputs = elements;
  if (v.extra.get("elements", "all") == std::string("swaps")) {
    std::erase_if(inputs, [](const std::string& p) {
      int moved = 0;
      for (std::size_t i = 0; i < p.size(); ++i) moved += p[i] - '0' != static_cast<int>(i) ? 1 : 0;
      return moved > 2;
    });
  }
  const auto every = static_cast<std::size_t>(v.extra.get("tokens_per_element", 1));
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    if (i % every != every - 1) return -1;
    std::string where;
    for (int p = 0; p < points; ++p) {
      int at = p;
      for (std::size_t j = 0; j <= i; j += every)
        at = inputs.at(static_cast<std::size_t>(in[j]))[static_cast<std::size_t>(at)] - '0';
      where += static_cast<char>('0' + at);
    }
    return static_cast<std::int32_t>(std::find(elements.begin(), elements.end(), where) -
                                     elements.begin());
  });
}

// The grammar, by recursive descent over text:  sum = product (+- product)*,
// product = factor (* factor)*,  factor = digit | -factor | ( sum ).
class Parser {
 public:
  Parser(std::string text, std::int64_t m) : text_(std::move(text)), m_(m) {}
  std::int64_t value() {
    const std::int64_t v = sum();
    EXPECT_EQ(at_, text_.size()) << text_;
    return ((v % m_) + m_) % m_;
  }

 private:
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::int64_t sum() {
    std::int64_t v = product();
    for (;;) {
      if (take('+')) {
        v = (v + product()) % m_;
      } else if (take('-')) {
        v = (v - product()) % m_;
      } else {
        return v;
      }
    }
  }
  std::int64_t product() {
    std::int64_t v = factor();
    while (take('*')) v = v * factor() % m_;
    return v;
  }
  std::int64_t factor() {
    if (take('-')) return -factor();
    if (take('(')) {
      const std::int64_t v = sum();
      EXPECT_TRUE(take(')')) << text_;
      return v;
    }
    EXPECT_TRUE(at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') << text_;
    return text_[at_++] - '0';
  }
  std::string text_;
  std::int64_t m_;
  std::size_t at_ = 0;
};

Ids arithmetic(const Variant& v, const Ids& in) {
  const bool brackets = v.task == "modular_arithmetic_brackets";
  const auto m = static_cast<std::size_t>(v.extra.get("modulus", 5));
  std::string text;
  for (const std::int32_t id : in) {
    const auto i = static_cast<std::size_t>(id);
    text += i < m ? static_cast<char>('0' + id) : std::string("+-*=()").at(i - m);
  }
  const std::size_t end = text.find('=');
  EXPECT_NE(end, std::string::npos) << text;
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    if (i > end || (text[i] != '=' && text[i] != ')' && (brackets || i % 2 == 1))) return -1;
    std::size_t from = 0, to = i;
    if (text[i] == ')') {  // its opening bracket
      int depth = 0;
      for (from = i;; --from) {
        depth += text[from] == ')' ? 1 : text[from] == '(' ? -1 : 0;
        if (depth == 0) break;
      }
    }
    if (text[i] != '=') ++to;
    return static_cast<std::int32_t>(
        Parser(text.substr(from, to - from), static_cast<std::int64_t>(m)).value());
  });
}

// The first letter equals the last one iff the pairs ab and ba are even in number.
Ids even_pairs(const Variant&, const Ids& in) {
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    int pairs = 0;
    for (std::size_t j = 0; j < i; ++j) pairs += in[j] != in[j + 1] ? 1 : 0;
    return i == 0 ? -1 : 1 - pairs % 2;
  });
}

Ids counter_language(const Variant& v, const Ids& in) {
  const std::int32_t letters = v.task == "anbn" ? 2 : 3, end = letters + 1;
  const auto n = static_cast<std::size_t>(std::count(in.begin(), in.end(), 1));
  Ids word = {0};
  for (std::int32_t letter = 1; letter <= letters; ++letter) word.insert(word.end(), n, letter);
  word.resize(in.size() + 1, end);
  EXPECT_EQ(in, Ids(word.begin(), word.end() - 1));
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    return i > n && i <= n * static_cast<std::size_t>(letters) ? word[i + 1] : -1;
  });
}

Ids majority(const Variant& v, const Ids& in) {
  const auto symbols =
      static_cast<std::int32_t>(v.extra.get("symbols", v.task == "plurality" ? 16 : 63));
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    std::vector<std::pair<std::int32_t, std::int32_t>> counts;  // count, symbol
    for (std::int32_t s = 0; s < symbols; ++s) counts.emplace_back(count_before(in, i, s), s);
    std::sort(counts.rbegin(), counts.rend());
    if (v.task == "majority_count") return std::min(counts[0].first, symbols);
    return counts[0].first == counts[1].first ? -1 : counts[0].second;
  });
}

Ids binary_majority(const Variant& v, const Ids& in) {
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    const std::int32_t ones = count_before(in, i, 1), zeros = count_before(in, i, 0);
    if (ones == zeros || (!v.final_answer() && (i + 1) % 2 == 0)) return -1;
    return ones > zeros ? 1 : 0;
  });
}

Ids mqar(const Variant& v, const Ids& in) {
  const bool grid = v.extra.get("grid", "none") == std::string("paper");
  const auto half = static_cast<std::int32_t>(v.extra.get("vocabulary", grid ? 8192 : 64) / 2);
  const auto used = in.size() - static_cast<std::size_t>(std::count(in.begin(), in.end(), 0));
  EXPECT_EQ(used % 3, 0U) << "key, value, key again";
  std::map<std::int32_t, std::int32_t> value;
  for (std::size_t p = 0; p < used / 3; ++p) {
    EXPECT_TRUE(in[2 * p] >= 1 && in[2 * p] <= half) << in[2 * p];
    EXPECT_TRUE(in[2 * p + 1] > half && in[2 * p + 1] <= 2 * half) << in[2 * p + 1];
    EXPECT_TRUE(value.emplace(in[2 * p], in[2 * p + 1]).second) << "a key twice";
  }
  std::set<std::int32_t> asked;
  Ids out = at_every_position(in, [&](std::size_t i) -> std::int32_t {
    if (i < used / 3 * 2 || in[i] == 0) return -1;
    EXPECT_TRUE(asked.insert(in[i]).second) << "a query twice";
    return value.at(in[i]);
  });
  EXPECT_EQ(asked.size(), value.size());
  return out;
}

Ids selective_copying(const Variant& v, const Ids& in) {
  const auto items = static_cast<std::size_t>(v.extra.get("items", 16));
  const std::size_t sign = in.size() - items - 1;
  EXPECT_EQ(in[sign], 1);
  Ids symbols;
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_TRUE(i < sign || i == sign || in[i] == 0);
    if (in[i] >= 2) symbols.push_back(in[i] - 2);
  }
  EXPECT_EQ(symbols.size(), items);
  return at_every_position(in,
                           [&](std::size_t i) { return i > sign ? symbols.at(i - sign - 1) : -1; });
}

Ids induction_heads(const Variant& v, const Ids& in) {
  const auto marker = static_cast<std::int32_t>(v.extra.get("symbols", 16));
  EXPECT_EQ(std::count(in.begin(), in.end(), marker), 2);
  EXPECT_EQ(in.back(), marker);
  return at_every_position(in, [&](std::size_t i) -> std::int32_t {
    for (std::size_t j = i; j-- > 0;) {
      if (in[j] == in[i]) return in[j + 1];
    }
    return -1;
  });
}

Ids state_recall(const Variant& v, const Ids& in) {
  const auto most = static_cast<std::int32_t>(v.extra.get("bits", 32));
  Ids out(in.size(), -1), bits;
  std::map<std::int32_t, std::int32_t> address;
  std::size_t i = 0;
  EXPECT_EQ(in[i++], 1);
  for (; in[i] == 4 || in[i] == 5; ++i) bits.push_back(in[i] - 4);
  const auto n = static_cast<std::int32_t>(bits.size());
  EXPECT_TRUE(n >= most / 2 && n <= most) << n;
  std::set<std::int32_t> different;
  for (std::int32_t k = 0; k < 5; ++k, i += 2) {
    EXPECT_EQ(in[i], 6 + k);
    different.insert(address[in[i]] = in[i + 1] - 11);
    EXPECT_TRUE(address[in[i]] >= 0 && address[in[i]] < n);
  }
  EXPECT_EQ(different.size(), 5U);
  EXPECT_EQ(in[i++], 2);
  int swaps = 0;
  for (; in[i] != 3; i += 2, ++swaps) {
    EXPECT_NE(in[i], in[i + 1]);
    std::swap(address.at(in[i]), address.at(in[i + 1]));
    out[i + 1] = bits.at(static_cast<std::size_t>(address.at(in[i + 1])));
  }
  EXPECT_GE(swaps, 4);
  out[i + 1] = bits.at(static_cast<std::size_t>(address.at(in[i + 1])));
  for (i += 2; i < in.size(); ++i) EXPECT_EQ(in[i], 0);
  return out;
}

Ids definition(const Variant& v, const Ids& in) {
  static const std::map<std::string, Ids (*)(const Variant&, const Ids&)> definitions = {
      {"parity", cyclic},
      {"modular_addition", cyclic},
      {"cycle_navigation", cyclic},
      {"s3", group},
      {"a5", group},
      {"s5", group},
      {"modular_arithmetic", arithmetic},
      {"modular_arithmetic_brackets", arithmetic},
      {"even_pairs", even_pairs},
      {"anbn", counter_language},
      {"anbncn", counter_language},
      {"majority", majority},
      {"plurality", majority},
      {"majority_count", majority},
      {"binary_majority", binary_majority},
      {"mqar", mqar},
      {"selective_copying", selective_copying},
      {"induction_heads", induction_heads},
      {"state_recall", state_recall}};
  return definitions.at(v.task)(v, in);
}

// Tasks whose rows in final supervision are cut after the last token, then padded with an id of
// their own.
bool varies_in_length(const std::string& task) {
  return task != "mqar" && task != "selective_copying" && task != "induction_heads" &&
         task != "state_recall";
}

void expect_defined(const Variant& v, const TaskSpec& spec, const Row& row) {
  for (const std::int32_t id : row.in) ASSERT_TRUE(id >= 0 && id < spec.vocabulary) << id;
  for (const std::int32_t id : row.target) ASSERT_TRUE(id >= -1 && id < spec.classes) << id;
  Ids in = row.in;
  const bool cut = v.final_answer() && varies_in_length(v.task);
  if (cut) {
    const auto pad = static_cast<std::int32_t>(spec.vocabulary - 1);
    const auto end = std::find(in.begin(), in.end(), pad);
    ASSERT_TRUE(std::all_of(end, in.end(), [&](std::int32_t id) { return id == pad; }));
    in.erase(end, in.end());
  }
  Ids expected = definition(v, in);
  expected.resize(row.in.size(), -1);
  if (v.final_answer()) {
    std::size_t last = expected.size();
    while (last > 0 && expected[last - 1] < 0) --last;
    ASSERT_GT(last, 0U);
    // Empty tokens after the last whole element are allowed, a tie at the end is not.
    if (cut && !v.extra.contains("tokens_per_element")) {
      ASSERT_EQ(last, in.size());
    }
    std::fill(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(last) - 1, -1);
  }
  ASSERT_EQ(row.target, expected);
}

TEST(SyntheticLabels, EqualTheDefinition) {
  for (const Variant& v : variants()) {
    SCOPED_TRACE(v.text());
    const auto task = v.make();
    const TaskSpec spec = task->spec();
    for (const std::int64_t step : {0, 1, 30, 99}) {
      const std::vector<Row> rows = rows_of(task->train_batch(step));
      for (std::size_t r = 0; r < std::min<std::size_t>(rows.size(), 16); ++r)
        ASSERT_NO_FATAL_FAILURE(expect_defined(v, spec, rows[r]));
    }
    for (const std::int64_t length :
         {spec.lengths[0], spec.lengths[spec.lengths.size() > 1 ? 1 : 0]}) {
      if (length > 512) continue;  // the definitions take quadratic time and more
      const std::vector<Row> rows = rows_of(task->eval_batch(Split::test, length, 0));
      for (std::size_t r = 0; r < std::min<std::size_t>(rows.size(), 8); ++r)
        ASSERT_NO_FATAL_FAILURE(expect_defined(v, spec, rows[r]));
    }
    if (testing::Test::HasFailure()) break;
  }
}

// Lengths as a plan may ask for them: odd ones, and the least a task takes.
TEST(SyntheticLabels, AnyLengthIsWellDefined) {
  for (const Variant& v : variants()) {
    SCOPED_TRACE(v.text());
    const auto task = v.make();
    std::int64_t least = 1;
    for (;; ++least) {
      try {
        task->eval_batches(Split::test, least);
        break;
      } catch (const Error& e) {
        ASSERT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
        ASSERT_LT(least, 200);
      }
    }
    for (const std::int64_t length : {least, least + 1, least + 7}) {
      const std::vector<Row> rows = rows_of(task->eval_batch(Split::test, length, 0));
      for (std::size_t r = 0; r < std::min<std::size_t>(rows.size(), 4); ++r)
        ASSERT_NO_FATAL_FAILURE(expect_defined(v, task->spec(), rows[r]));
    }
  }
}

}  // namespace
}  // namespace subquad
