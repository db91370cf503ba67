#include "subquad/study/comparison.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/rng.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/hypothesis_tests.h"

namespace subquad {
namespace {

constexpr double kLevel = 0.05;

std::vector<double> values_of(const std::map<std::int64_t, double>& by_seed) {
  std::vector<double> out;
  for (const auto& [seed, value] : by_seed) out.push_back(value);
  return out;
}

int failed_runs(const Json& results, const std::string& task, const std::string& arm) {
  int count = 0;
  for (const Json& f : results.at("failed").as_array())
    count += f.get("task", "") == task && f.get("arm", "") == arm ? 1 : 0;
  return count;
}

// The smallest number of solved seeds that differs from none at 5 %; 0: not even all do.
int detectable_seeds(int first, int second) {
  for (int k = 1; k <= first; ++k) {
    if (fisher_p(k, first, 0, second) < kLevel) return k;
  }
  return 0;
}

// Level from which a seed counts as solved, NaN where means are fit to be compared: the task's own
// level if any seed reached it, else the gap between two groups of an arm's seeds.
double cut_of(const std::string& task, const std::vector<double>& a, const std::vector<double>& b) {
  const Question* q = question_of(task);
  if (q && !std::isnan(q->solved)) {
    const auto solved = [&](double v) { return v >= q->solved; };
    if (std::any_of(a.begin(), a.end(), solved) || std::any_of(b.begin(), b.end(), solved))
      return q->solved;
  }
  for (const auto& x : {a, b}) {
    const TwoGroups g = two_groups(x);
    if (g.p < kTwoGroupsLevel) return g.cut;
  }
  return NAN;
}

void compare_shares(Comparison& c, const std::vector<double>& a, const std::vector<double>& b) {
  const auto solved = [&](const std::vector<double>& x) {
    return static_cast<int>(
        std::count_if(x.begin(), x.end(), [&](double v) { return v >= c.cut; }));
  };
  c.solved_first = solved(a);
  c.solved_second = solved(b);
  c.p = fisher_p(c.solved_first, c.seeds_first, c.solved_second, c.seeds_second);
  c.detectable = detectable_seeds(std::min(c.seeds_first, c.seeds_second),
                                  std::max(c.seeds_first, c.seeds_second));
}

void compare_means(Comparison& c, const std::map<std::int64_t, double>& a,
                   const std::map<std::int64_t, double>& b) {
  for (const auto& [seed, value] : a) {
    const auto other = b.find(seed);
    if (other != b.end()) c.differences.push_back(value - other->second);
  }
  c.t = t_interval(c.differences);
  c.exact = sign_flip_interval(c.differences);
  c.p = sign_flip_p(c.differences);
  c.wilcoxon_p = wilcoxon_p(c.differences);
  if (c.margin > 0) c.equivalence_p = equivalence_p(c.differences, c.margin);
  c.detectable = minimal_detectable_difference(deviation_of(c.differences),
                                               static_cast<int>(c.differences.size()));
}

Comparison compare_arms(const Json& results, const Hypothesis& h) {
  Comparison c;
  c.task = h.task;
  c.first = h.first;
  c.second = h.second;
  const auto a = goodness_by_seed(results, h.task, h.first),
             b = goodness_by_seed(results, h.task, h.second);
  const std::vector<double> x = values_of(a), y = values_of(b);
  c.seeds_first = static_cast<int>(x.size()) + failed_runs(results, h.task, h.first);
  c.seeds_second = static_cast<int>(y.size()) + failed_runs(results, h.task, h.second);
  c.improvement = probability_of_improvement(x, y);
  if (const Json* protocol = results.at("plan").find("protocol")) {
    if (const Json* margin = protocol->find("margin")) c.margin = margin->get(h.task, 0.0);
  }
  c.cut = cut_of(h.task, x, y);
  c.shares = !std::isnan(c.cut);
  if (c.shares) {
    compare_shares(c, x, y);
  } else {
    compare_means(c, a, b);
  }
  return c;
}

std::string decide(const Comparison& c) {
  if (c.shares) {
    if (c.p_holm >= kLevel) return "undecided";
    return static_cast<double>(c.solved_first) / c.seeds_first >
                   static_cast<double>(c.solved_second) / c.seeds_second
               ? "better"
               : "worse";
  }
  if (c.differences.size() < 2) return "too few seeds";
  if (c.p_holm < kLevel && c.t.low > 0) return "better";
  if (c.p_holm < kLevel && c.t.high < 0) return "worse";
  return c.margin > 0 && c.equivalence_p < kLevel ? "equivalent" : "undecided";
}

// The two best arms of a task by median; false if there are not two.
bool two_best(const Json& results, const std::string& task, Hypothesis& h) {
  std::vector<std::pair<double, std::string>> order;
  for (const std::string& arm : arms_of(results)) {
    const auto by_seed = goodness_by_seed(results, task, arm);
    if (!by_seed.empty()) order.emplace_back(median_of(values_of(by_seed)), arm);
  }
  if (order.size() < 2) return false;
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  h = {task, order[0].second, order[1].second, false};
  return true;
}

void adjust(std::vector<Comparison>& all, bool declared) {
  std::vector<double> p;
  for (const Comparison& c : all) {
    if (c.declared == declared) p.push_back(c.p);
  }
  const auto adjusted = holm(p);
  std::size_t i = 0;
  for (Comparison& c : all) {
    if (c.declared != declared) continue;
    c.p_holm = adjusted[i++];
    c.family = static_cast<int>(p.size());
    c.verdict = decide(c);
  }
}

struct FrontArm {
  std::string name;
  double cost;
  std::map<std::int64_t, double> by_seed;
};

std::vector<std::int64_t> common_seeds(const std::vector<FrontArm>& arms) {
  std::vector<std::int64_t> seeds;
  if (arms.empty()) return seeds;
  for (const auto& [seed, value] : arms.front().by_seed) {
    if (std::all_of(arms.begin(), arms.end(),
                    [&](const FrontArm& a) { return a.by_seed.contains(seed); }))
      seeds.push_back(seed);
  }
  return seeds;
}

// By an arm that is at least as good for at most as much, and better in one of the two.
bool beaten(const std::vector<FrontArm>& arms, const std::vector<double>& quality, std::size_t a) {
  for (std::size_t b = 0; b < arms.size(); ++b) {
    const bool as_good = quality[b] >= quality[a] && arms[b].cost <= arms[a].cost;
    if (as_good && (quality[b] > quality[a] || arms[b].cost < arms[a].cost)) return true;
  }
  return false;
}

// An infinite limit has no JSON number.
Json limit(double v) { return std::isinf(v) ? Json() : Json(v); }

}  // namespace

Hypothesis parse_hypothesis(const std::string& text) {
  Hypothesis h;
  const std::size_t colon = text.find(": ");
  h.equivalence = text.find(" > ") == std::string::npos;
  const std::size_t sign = text.find(h.equivalence ? " = " : " > ");
  require(colon != std::string::npos && sign != std::string::npos && colon + 2 < sign &&
              sign + 3 < text.size() && colon > 0,
          ErrorCode::invalid_argument, "got \"", text,
          "\", wanted \"TASK: ARM > ARM\" (the first is better) or \"TASK: ARM = ARM\" (equivalent "
          "within the margin), for example \"parity: slstm > mlstm\"");
  h.task = text.substr(0, colon);
  h.first = text.substr(colon + 2, sign - colon - 2);
  h.second = text.substr(sign + 3);
  return h;
}

std::vector<Hypothesis> hypotheses_of(const Json& plan) {
  std::vector<Hypothesis> out;
  const Json* protocol = plan.find("protocol");
  const Json* list = protocol ? protocol->find("hypotheses") : nullptr;
  if (!list) return out;
  for (const Json& text : list->as_array()) out.push_back(parse_hypothesis(text.as_string()));
  return out;
}

std::map<std::int64_t, double> goodness_by_seed(const Json& results, const std::string& task,
                                                const std::string& arm) {
  const Json& info = results.at("tasks").at(task);
  std::map<std::int64_t, double> out;
  for_runs(results, task, arm, [&](const Json& r) {
    const Json* m = metric(r, info.at("primary").as_string(), info.at("primary_length").as_int());
    if (!m || m->at("value").is_null()) return;
    const double value = goodness(info, m->at("value").as_double());
    if (arm != "ngram") {
      out[r.at("seed").as_int()] = value;
      return;
    }
    for (const Json& seed : results.at("plan").at("seeds").as_array()) out[seed.as_int()] = value;
  });
  return out;
}

std::vector<Comparison> comparisons(const Json& results) {
  std::vector<Comparison> all;
  for (const Hypothesis& h : hypotheses_of(results.at("plan"))) {
    if (!results.at("tasks").find(h.task)) continue;
    all.push_back(compare_arms(results, h));
    all.back().declared = true;
  }
  for (const std::string& task : tasks_of(results)) {
    const bool declared =
        std::any_of(all.begin(), all.end(), [&](const Comparison& c) { return c.task == task; });
    Hypothesis h;
    if (!declared && two_best(results, task, h)) all.push_back(compare_arms(results, h));
  }
  adjust(all, true);
  adjust(all, false);
  return all;
}

std::vector<Comparison> compare_pairs(const Json& results, const std::vector<Hypothesis>& pairs) {
  std::vector<Comparison> all;
  for (const Hypothesis& h : pairs) all.push_back(compare_arms(results, h));
  adjust(all, false);
  return all;
}

Json Comparison::to_json() const {
  Json j = Json::object();
  j["task"] = task;
  j["first"] = first;
  j["second"] = second;
  j["declared"] = declared;
  j["verdict"] = verdict;
  j["test"] = shares ? "fisher" : "sign_flip";
  j["p"] = p;
  j["p_holm"] = p_holm;
  j["probability_of_improvement"] = improvement;
  if (shares) {
    j["interval"] = "wilson";
    j["solved"] = Json::Array{solved_first, solved_second};
    j["seeds"] = Json::Array{seeds_first, seeds_second};
    for (const auto& [k, n] :
         {std::pair{solved_first, seeds_first}, {solved_second, seeds_second}}) {
      const Interval w = wilson_interval(k, n), e = clopper_pearson_interval(k, n);
      j["share_wilson_95"].push_back(Json::Array{w.low, w.high});
      j["share_exact_95"].push_back(Json::Array{e.low, e.high});
    }
    j["detectable_seeds"] = static_cast<std::int64_t>(detectable);
    return j;
  }
  j["interval"] = "t";
  j["paired"] = true;
  j["pairs"] = static_cast<std::int64_t>(differences.size());
  j["mean_difference"] = mean_of(differences);
  j["deviation"] = deviation_of(differences);
  j["t_95"] = Json::Array{t.low, t.high};
  j["sign_flip_95"] = Json::Array{limit(exact.low), limit(exact.high)};
  j["wilcoxon_p"] = wilcoxon_p;
  j["detectable_with_power_0.8"] = limit(detectable);
  if (margin > 0) {
    j["margin"] = margin;
    j["equivalence_p"] = equivalence_p;
    const double spread = deviation_of(differences);
    j["power_at_margin"] =
        spread > 0 ? paired_t_power(margin / spread, static_cast<int>(differences.size())) : 1.0;
  }
  return j;
}

double smallest_p_holm(int pairs, int family) {
  return pairs < 1 ? 1 : std::min(1.0, family * std::pow(2.0, 1 - pairs));
}

std::string sentence(const Comparison& c) {
  const std::string family = c.declared ? "Holm" : "exploratory, Holm";
  if (c.shares) {
    const auto share = [](int k, int n) {
      const Interval w = wilson_interval(k, n);
      return format("%d of %d [%.2f, %.2f]", k, n, w.low, w.high);
    };
    std::string text = c.first + " " + share(c.solved_first, c.seeds_first) + " against " +
                       c.second + " " + share(c.solved_second, c.seeds_second) +
                       format(" (Fisher p %.2g, %s %.2g): %s", c.p, family, c.p_holm, c.verdict);
    if (c.verdict == "undecided")
      text += c.detectable > 0
                  ? format("; at 5 %% only %.0f or more against none would be found", c.detectable)
                  : std::string("; with so few seeds no difference reaches 5 %");
    return text;
  }
  const auto n = static_cast<int>(c.differences.size());
  if (n < 2) return c.first + " against " + c.second + ": too few seeds for an interval";
  const double mean = mean_of(c.differences);
  const double size = std::max(std::abs(c.t.low), std::abs(c.t.high));
  const char* digits = size >= 0.2 ? "%.2f" : size >= 0.02 ? "%.3f" : "%.2g";
  const auto number = [&](double v) { return format(digits, v); };
  std::string text = c.first + (mean >= 0 ? " is ahead of " : " is behind ") + c.second + " by " +
                     number(std::abs(mean)) + " [" + number(mean >= 0 ? c.t.low : -c.t.high) +
                     ", " + number(mean >= 0 ? c.t.high : -c.t.low) +
                     format(
                         "] (%d pairs, sign-flip p %.2g, %s %.2g, Wilcoxon p %.2g, P(better) "
                         "of unpaired seeds %.2f)",
                         n, c.p, family, c.p_holm, c.wilcoxon_p, c.improvement);
  if (c.verdict == "equivalent")
    return text + format(": equivalent within %g (two one-sided t tests, p %.2g)", c.margin,
                         c.equivalence_p);
  if (c.verdict != "undecided") return text;
  text += ": undecided; a difference of " + number(c.detectable) + " is found with 80 % power";
  if (smallest_p_holm(n, c.family) < kLevel) return text;
  return text + format("; no exact test of %d pairs can reach 5 %%", n) +
         (n < 6 ? "" : format(" after Holm's correction for %d comparisons", c.family));
}

std::map<std::string, double> front_probabilities(const Json& results, const std::string& task,
                                                  const std::map<std::string, double>& cost) {
  std::vector<FrontArm> arms;
  for (const std::string& name : arms_of(results)) {
    const auto own = cost.find(name);
    auto by_seed = goodness_by_seed(results, task, name);
    if (own == cost.end() || std::isnan(own->second) || by_seed.empty()) continue;
    arms.push_back({name, own->second, std::move(by_seed)});
  }
  const std::vector<std::int64_t> seeds = common_seeds(arms);
  if (seeds.size() < 2) return {};
  constexpr std::uint64_t kDraws = 2000;
  const Rng rng{0, stream_id("front")};
  std::map<std::string, int> draws;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    std::vector<double> quality(arms.size(), 0);
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      const auto pick =
          static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(seeds.size()), draw, i));
      for (std::size_t a = 0; a < arms.size(); ++a) quality[a] += arms[a].by_seed.at(seeds[pick]);
    }
    for (std::size_t a = 0; a < arms.size(); ++a)
      draws[arms[a].name] += beaten(arms, quality, a) ? 0 : 1;
  }
  std::map<std::string, double> on_front;
  for (const auto& [arm, count] : draws) on_front[arm] = count / static_cast<double>(kDraws);
  return on_front;
}

std::map<std::string, double> front_probabilities(const Json& results, const std::string& task) {
  std::map<std::string, double> bytes;
  const Json* sizes = results.at("tasks").at(task).find("arms");
  for (const std::string& name : arms_of(results)) {
    const Json* a = sizes ? sizes->find(name) : nullptr;
    const Json* state = a ? a->find("state_bytes") : nullptr;
    if (state && state->find("16384")) bytes[name] = state->at("16384").as_double();
  }
  return front_probabilities(results, task, bytes);
}

}  // namespace subquad
