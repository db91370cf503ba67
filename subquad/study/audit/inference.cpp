// Audit group D: statistics. Values are taken from the runs and worked out again; what the study
// says about them is read from its findings.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "subquad/study/audit/checks.h"
#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/hypothesis_tests.h"

namespace subquad::checks {
namespace {

struct Stated {
  Comparison own;      // worked out again
  const Json* stated;  // in the findings of the study; null: not there
  std::string name() const { return own.task + ": " + own.first + " against " + own.second; }
};

std::vector<Stated> stated_comparisons(const AuditInput& in) {
  std::vector<Stated> out;
  const Json::Array& list = in.results.at("findings").at("comparisons").as_array();
  for (Comparison& c : comparisons(in.results)) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const Json& j) {
      return j.at("task").as_string() == c.task && j.at("first").as_string() == c.first &&
             j.at("second").as_string() == c.second;
    });
    out.push_back({std::move(c), found == list.end() ? nullptr : &*found});
  }
  return out;
}

// Standard deviation about the straight line through five points: a curve that still falls is not
// noise for that.
double scatter(const std::vector<double>& y) {
  const auto n = static_cast<double>(y.size());
  const double middle = (n - 1) / 2, mean = mean_of(y);
  double xx = 0, xy = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double x = static_cast<double>(i) - middle;
    xx += x * x;
    xy += x * (y[i] - mean);
  }
  double squares = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double r = y[i] - mean - xy / xx * (static_cast<double>(i) - middle);
    squares += r * r;
  }
  return std::sqrt(squares / (n - 2));
}

bool claims_difference(const Json& stated) {
  const std::string verdict = stated.get("verdict", "");
  return verdict == "better" || verdict == "worse";
}

}  // namespace

CheckOutcome seed_count(const AuditInput& in) {
  std::size_t least = SIZE_MAX;
  std::string where;
  for (const Comparison& c : comparisons(in.results)) {
    for (const std::string& arm : {c.first, c.second}) {
      if (arm == "ngram") continue;
      const std::size_t n = goodness_by_seed(in.results, c.task, arm).size();
      if (n < least) where = c.task + " " + arm;
      least = std::min(least, n);
    }
  }
  if (least == SIZE_MAX) return {Light::fail, "nothing is compared", {}};
  return {least >= 6   ? Light::pass
          : least >= 4 ? Light::warn
                       : Light::fail,
          format("%zu seeds of %s", least, where),
          {}};
}

CheckOutcome intervals(const AuditInput& in) {
  Light light = Light::pass;
  std::string text;
  for (const Stated& s : stated_comparisons(in)) {
    const std::string method = s.stated ? s.stated->get("interval", "none") : "none";
    const bool rate = method == "wilson" || method == "clopper_pearson";
    const auto n = static_cast<int>(s.own.differences.size());
    Light own = Light::pass;
    if (s.own.shares ? !rate : method != "t" && method != "exact" && method != "bootstrap") {
      own = Light::fail;
    } else if (method == "bootstrap" && n < 10) {
      own = Light::warn;
    }
    light = worse(light, own);
    text += s.name() + ": " + method + (s.own.shares ? " for seeds in two groups; " : "; ");
  }
  return {light, text, {}};
}

CheckOutcome pairing(const AuditInput& in) {
  std::string off;
  std::size_t paired = 0;
  for (const Stated& s : stated_comparisons(in)) {
    if (s.own.shares) continue;
    const bool ok =
        s.stated && s.stated->get("paired", false) &&
        s.stated->get("pairs", 0) == static_cast<std::int64_t>(s.own.differences.size());
    paired += ok ? 1 : 0;
    if (!ok) off += s.name() + "; ";
  }
  return {off.empty() ? Light::pass : Light::fail,
          off.empty() ? format("%zu comparisons of differences, all paired by seed", paired)
                      : "not paired by seed: " + off,
          {}};
}

CheckOutcome claims_supported(const AuditInput& in) {
  Light light = Light::pass;
  std::string text;
  for (const Stated& s : stated_comparisons(in)) {
    if (!s.stated || !claims_difference(*s.stated)) continue;
    const double improvement =
        s.stated->get("verdict", "") == "worse" ? 1 - s.own.improvement : s.own.improvement;
    const bool significant = s.own.p_holm < 0.05, probable = improvement >= 0.75;
    light = worse(light, significant && probable   ? Light::pass
                         : significant || probable ? Light::warn
                                                   : Light::fail);
    text += s.name() + format(": Holm p %.2g, P(improvement) %.2f; ", s.own.p_holm, improvement);
  }
  return {light, text.empty() ? "no difference is claimed" : text, {}};
}

CheckOutcome failures(const AuditInput& in) {
  std::set<std::string> done, shown;
  for (const Json* r : records(in, "run", "done")) done.insert(id_of(*r));
  for (const Json& f : in.results.at("failed").as_array()) shown.insert(id_of(f));
  std::vector<std::string> hidden;
  for (const Json* r : records(in, "run", "failed")) {
    if (!done.contains(id_of(*r)) && !shown.contains(id_of(*r))) hidden.push_back(id_of(*r));
  }
  if (!hidden.empty()) return {Light::fail, "failed runs that the results do not show", hidden};
  std::map<std::string, std::pair<int, int>> by_arm;  // failed, all
  for (const Json* r : model_runs(in)) ++by_arm[r->at("arm").as_string()].second;
  for (const Json& f : in.results.at("failed").as_array()) {
    auto& [failed, all] = by_arm[f.at("arm").as_string()];
    ++failed;
    ++all;
  }
  double p = 1;
  std::string text;
  for (const auto& [arm, a] : by_arm) {
    text += arm + format(" %d of %d; ", a.first, a.second);
    for (const auto& [other, b] : by_arm)
      p = std::min(p, fisher_p(a.first, a.second, b.first, b.second));
  }
  return {p > 0.1 ? Light::pass : Light::warn,
          "failed: " + text + format("smallest Fisher p %.2g", p),
          {}};
}

CheckOutcome signal_to_noise(const AuditInput& in) {
  double worst = INFINITY;
  std::string text;
  for (const std::string& task : tasks_of(in.results)) {
    std::map<std::string, std::vector<double>> last;  // by arm: mean of the last five points
    std::vector<double> noise;
    for (const Json* r : model_runs(in, task)) {
      // Validation where the curve has it, else the training loss.
      std::vector<double> validation, loss;
      for (const Json& point : r->at("curve").as_array()) {
        loss.push_back(point[1].as_double());
        if (point.size() > 2) validation.push_back(point[2].as_double());
      }
      std::vector<double>& curve = validation.size() >= 5 ? validation : loss;
      require(curve.size() >= 5, ErrorCode::format, "the curve of ", id_of(*r),
              " has fewer than five points");
      curve.erase(curve.begin(), curve.end() - 5);
      noise.push_back(scatter(curve));
      last[r->at("arm").as_string()].push_back(mean_of(curve));
    }
    double low = INFINITY, high = -INFINITY;
    for (const auto& [arm, values] : last) {
      low = std::min(low, mean_of(values));
      high = std::max(high, mean_of(values));
    }
    const double n = median_of(noise), ratio = n > 0 ? (high - low) / n : INFINITY;
    worst = std::min(worst, ratio);
    text += task + format(": arms span %.3g, last five points scatter %.3g; ", high - low, n);
  }
  return {worst >= 3   ? Light::pass
          : worst >= 1 ? Light::warn
                       : Light::fail,
          text + format("signal to noise %.2g", worst),
          {}};
}

CheckOutcome scaling_fit(const AuditInput&) {
  return {Light::not_applicable, "no scaling law is fitted", {}};
}

CheckOutcome power(const AuditInput& in) {
  Light light = Light::pass;
  std::string text;
  for (const Stated& s : stated_comparisons(in)) {
    if (s.stated && claims_difference(*s.stated)) continue;
    const bool stated = s.stated && (s.stated->contains("detectable_with_power_0.8") ||
                                     s.stated->contains("detectable_seeds"));
    const bool enough = s.stated && (s.stated->get("power_at_margin", 0.0) >= 0.8 ||
                                     s.stated->get("equivalence_p", 1.0) < 0.05);
    light = worse(light, !stated ? Light::fail : enough ? Light::pass : Light::warn);
    text += s.name() + (!stated  ? ": no power is stated; "
                        : enough ? ": equivalence was tested with enough power; "
                                 : ": what would have been found is stated; ");
  }
  return {light, text.empty() ? "every comparison is decided" : text, {}};
}

}  // namespace subquad::checks
