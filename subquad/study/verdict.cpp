#include "subquad/study/verdict.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/text.h"
#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/hypothesis_tests.h"
#include "subquad/task/task.h"

namespace subquad {
namespace {

constexpr int kMostSeeds = 100;

// "a", "a and b", "a, b and c".
std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i)
    out += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
  return out;
}

std::string share_words(int solved, int seeds) {
  const Interval w = wilson_interval(solved, seeds);
  return format("%d of %s [%.2f, %.2f]", solved, count_of(seeds, "seed"), w.low, w.high);
}

struct Entry {
  std::string arm;
  Cell cell;
  double median;
};

// Best first.
std::vector<Entry> ranking(const Json& results, const std::string& task) {
  const Json& info = results.at("tasks").at(task);
  std::vector<Entry> out;
  for (const std::string& arm : arms_of(results)) {
    Cell c = cell(results, task, arm);
    if (c.values.empty()) continue;
    const double median = median_of(c.values);
    out.push_back({arm, std::move(c), median});
  }
  std::stable_sort(out.begin(), out.end(), [&](const Entry& a, const Entry& b) {
    return goodness(info, a.median) > goodness(info, b.median);
  });
  return out;
}

std::string value_words(const Json& info, double value) {
  const std::string primary = info.at("primary").as_string();
  return words_of(primary) + format(lower_is_better(primary) ? " %.3f" : " %.2f", value);
}

std::string best_words(const Json& info, const std::vector<Entry>& order) {
  std::string out = "Best: " + order[0].arm + ", " + value_words(info, order[0].median) +
                    format(" (median of %zu)", order[0].cell.values.size());
  if (order.size() > 1) out += "; then " + order[1].arm + ", " + value_words(info, order[1].median);
  return out + ".";
}

// Who solves a task, in how many seeds.
std::string solvers(const Json& info, const Question& q, const std::vector<Entry>& order) {
  std::vector<std::string> every, some, none;
  for (const Entry& e : order) {
    if (e.cell.solved == 0) {
      none.push_back(e.arm);
    } else if (e.cell.solved == e.cell.seeds) {
      every.push_back(e.arm);
    } else {
      some.push_back(e.arm + " in " + share_words(e.cell.solved, e.cell.seeds));
    }
  }
  // Never stopping (2) is as wrong as stopping at once (0): nobody is near.
  if (none.size() == order.size() && info.at("primary").as_string() == "stop_ratio" &&
      goodness(info, order[0].median) <= 0)
    return "No arm solves it, and none comes near: " + value_words(info, order[0].median) +
           format(" at best (solved from %g to %g).", q.solved, 2 - q.solved);
  if (none.size() == order.size())
    return "No arm solves it. Nearest: " + order[0].arm + ", " +
           value_words(info, order[0].median) + format(" (solved from %g).", q.solved);
  std::string out;
  if (!every.empty())
    out = (every.size() == order.size() ? "Every arm solves it" : "Solved by " + joined(every)) +
          (every.size() == 1 ? ", in " : ", each in ") +
          share_words(order[0].cell.seeds, order[0].cell.seeds);
  if (!some.empty()) out += (out.empty() ? "Solved by " : "; by ") + joined(some);
  if (!none.empty())
    out += none.size() > 2 ? format("; by no seed of the other %zu arms", none.size())
                           : "; by no seed of " + joined(none);
  return out + ".";
}

std::string compared_shares(const Comparison& c) {
  const std::string both = share_words(c.solved_first, c.seeds_first) + " against " +
                           share_words(c.solved_second, c.seeds_second);
  if (c.verdict == "undecided" && c.solved_first == c.solved_second &&
      c.seeds_first == c.seeds_second)
    return c.first + " and " + c.second + " are not told apart: both " +
           share_words(c.solved_first, c.seeds_first) + ".";
  if (c.verdict == "undecided")
    return "Whether " + c.first + " succeeds more often than " + c.second +
           " is undecided: " + both + format(", corrected Fisher p %.2g.", c.p_holm);
  return c.first + " succeeds " + (c.verdict == "better" ? "more" : "less") + " often than " +
         c.second + ": " + both + format(", corrected Fisher p %.2g.", c.p_holm);
}

std::string compared_means(const Comparison& c) {
  const auto n = static_cast<int>(c.differences.size());
  if (n < 2) return c.first + " against " + c.second + ": one seed gives no interval.";
  const double size = std::max(std::abs(c.t.low), std::abs(c.t.high));
  const char* digits = size >= 0.2 ? "%.2f" : size >= 0.02 ? "%.3f" : "%.2g";
  const auto number = [&](double v) { return format(digits, v); };
  const std::string effect = number(mean_of(c.differences)) + " [" + number(c.t.low) + ", " +
                             number(c.t.high) + format("] over %d paired seeds", n);
  if (c.verdict == "equivalent")
    return c.first + " and " + c.second + format(" are equal within %g: ", c.margin) + effect + ".";
  if (c.verdict == "undecided")
    return "Whether " + c.first + " is better than " + c.second + " is undecided: by " + effect +
           (smallest_p_holm(n, c.family) < 0.05 ? "." : ", too few for an exact test at 5 %.");
  return c.first + " is " + c.verdict + " than " + c.second + ": by " + effect +
         format(", corrected p %.2g.", c.p_holm);
}

// Seeds after which the shares seen so far would differ at 5 %; 0: none that one would run.
int seeds_for_shares(const Comparison& c) {
  const double a = static_cast<double>(c.solved_first) / std::max(1, c.seeds_first),
               b = static_cast<double>(c.solved_second) / std::max(1, c.seeds_second);
  for (int n = std::max(c.seeds_first, c.seeds_second) + 1; n <= kMostSeeds; ++n) {
    const double p =
        fisher_p(static_cast<int>(std::lround(a * n)), n, static_cast<int>(std::lround(b * n)), n);
    if (p * c.family < 0.05) return n;
  }
  return 0;
}

int seeds_for_means(const Comparison& c) {
  const double spread = deviation_of(c.differences), mean = std::abs(mean_of(c.differences));
  if (c.differences.size() < 2 || mean <= 0) return 0;
  int n = spread > mean / 50 ? pairs_needed(mean / spread) : 2;
  while (n <= kMostSeeds && smallest_p_holm(n, c.family) >= 0.05) ++n;
  return n <= kMostSeeds ? n : 0;
}

std::string change_of(const Comparison& c) {
  if (c.verdict == "too few seeds") return "A second seed would give an interval.";
  if (c.verdict != "undecided") return "";
  if (c.shares && c.solved_first * c.seeds_second == c.solved_second * c.seeds_first)
    return "Both did alike: only seeds that come out differently would decide it.";
  const int n = c.shares ? seeds_for_shares(c) : seeds_for_means(c);
  if (n == 0) return format("So small a difference would need more than %d seeds.", kMostSeeds);
  return format("About %d seeds would decide it, if the difference is as large as it looks.", n);
}

}  // namespace

ShortVerdict short_verdict(const Json& results, const std::string& task) {
  const Json& info = results.at("tasks").at(task);
  const Question* q = question_of(task);
  ShortVerdict v;
  // Variants of one kind are told apart by name: code, code@large.
  v.question = q ? q->words : task;
  if (q && task_kind(task) != task) v.question = task + ": " + v.question;
  const std::int64_t length = info.at("primary_length").as_int(),
                     times = length / std::max<std::int64_t>(1, info.at("train_length").as_int());
  v.condition = format("tested at %d tokens, ", static_cast<long long>(length)) +
                (times > 1 ? format("%d times the training length", static_cast<long long>(times))
                           : "the training length");
  const std::vector<Entry> order = ranking(results, task);
  if (order.empty()) {
    v.answer = "No finished run yet.";
    v.decision = "no data";
    return v;
  }
  v.answer = q && !std::isnan(q->solved) ? solvers(info, *q, order) : best_words(info, order);
  for (const Comparison& c : comparisons(results)) {
    if (c.task != task) continue;
    v.comparisons.push_back(c.shares ? compared_shares(c) : compared_means(c));
    if (v.change.empty()) v.change = change_of(c);
    const std::string own = c.verdict == "better" || c.verdict == "worse" ? "decided" : c.verdict;
    // Of several hypotheses the least settled one counts.
    if (v.decision.empty() || v.decision == "decided") v.decision = own;
  }
  if (v.decision.empty()) v.decision = "one arm";
  return v;
}

}  // namespace subquad
