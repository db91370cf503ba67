#include "subquad/study/findings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/base/text.h"
#include "subquad/study/chart.h"
#include "subquad/study/comparison.h"
#include "subquad/study/crossover.h"
#include "subquad/study/format.h"
#include "subquad/task/task.h"

namespace subquad {
namespace {

double state_at(const Json& results, const std::string& arm, const char* depth) {
  for (const auto& [task, info] : results.at("tasks").as_object()) {
    const Json* a = info.find("arms") ? info.at("arms").find(arm) : nullptr;
    if (a) return a->at("state_bytes").at(depth).as_double();
  }
  return NAN;
}

bool counts_seeds(const std::string& task) {
  const Question* q = question_of(task);
  return q && !std::isnan(q->solved);
}

double validation_bits(const Json& run) {
  for (const Json& m : run.at("metrics").as_array()) {
    if (m.at("name").as_string() == "bits_per_byte" && m.at("split").as_string() == "validation")
      return m.at("value").as_double();
  }
  return NAN;
}

}  // namespace

bool lower_is_better(const std::string& primary) {
  return primary == "bits_per_byte" || primary == "wql_ratio" || primary == "pinball";
}

double goodness(const Json& task_info, double value) {
  const std::string primary = task_info.at("primary").as_string();
  if (primary == "stop_ratio") return 1 - std::abs(1 - value);
  return lower_is_better(primary) ? -value : value;
}

std::vector<std::string> arms_of(const Json& results) {
  std::vector<std::string> out;
  for (const Json& v : results.at("plan").at("arms").as_array()) out.push_back(v.as_string());
  return out;
}

std::vector<std::string> tasks_of(const Json& results) {
  std::vector<std::string> out;
  for (const auto& [task, info] : results.at("tasks").as_object()) out.push_back(task);
  return out;
}

const Json* metric(const Json& run, const std::string& name, std::int64_t length,
                   const char* split) {
  for (const Json& m : run.at("metrics").as_array()) {
    if (m.at("name").as_string() == name && m.at("length").as_int() == length &&
        m.at("split").as_string() == split)
      return &m;
  }
  return nullptr;
}

void for_runs(const Json& results, const std::string& task, const std::string& arm,
              const std::function<void(const Json&)>& fn) {
  for (const Json& r : results.at("runs").as_array()) {
    if (r.at("task").as_string() == task && r.at("arm").as_string() == arm) fn(r);
  }
}

Cell cell(const Json& results, const std::string& task, const std::string& arm) {
  const Json& info = results.at("tasks").at(task);
  const Question* q = question_of(task);
  Cell c;
  for_runs(results, task, arm, [&](const Json& r) {
    const Json* m = metric(r, info.at("primary").as_string(), info.at("primary_length").as_int());
    if (!m) return;
    if (m->at("value").is_null()) {  // not a number: like a failed run, it solved nothing
      ++c.seeds;
      return;
    }
    c.values.push_back(m->at("value").as_double());
    if (q && !std::isnan(q->solved) && goodness(info, c.values.back()) >= q->solved) ++c.solved;
  });
  c.seeds += static_cast<int>(c.values.size());
  for (const Json& f : results.at("failed").as_array())
    c.seeds += f.get("task", "") == task && f.get("arm", "") == arm ? 1 : 0;
  return c;
}

double least_agreement(const Json& results, const std::string& task, const std::string& arm) {
  double least = NAN;
  for_runs(results, task, arm, [&](const Json& r) {
    const Json* lengths = r.find("mode_agreement");
    if (!lengths) return;
    for (const auto& [length, share] : lengths->as_object())
      least = std::isnan(least) ? share.as_double() : std::min(least, share.as_double());
  });
  return least;
}

std::int64_t seeds_of(const Json& plan, const std::string& task) {
  const auto all = static_cast<std::int64_t>(plan.at("seeds").size());
  const Json* tasks = plan.find("tasks");
  const Json* own = tasks ? tasks->find(task) : nullptr;
  const std::int64_t first = own ? own->get("seeds", 0) : 0;
  return first > 0 ? std::min(first, all) : all;
}

std::string tuning_words(const Json& results) {
  const Json* tuning = results.find("tuning");
  if (!tuning) return "one recipe, untuned";
  std::set<std::string> recipes;
  for (const auto& [task, recipe] : tuning->at("recipes").as_object())
    recipes.insert(recipe.as_string());
  if (recipes.size() > 1) return "recipes R1, R2 and R3 side by side";
  const std::string only = *recipes.begin();
  return only == "R2"   ? "each arm's learning rate tuned on the same budget"
         : only == "R3" ? "each family's published recipe"
                        : "one recipe, untuned";
}

int finished_seeds(const Json& results) {
  int finished = 0;
  std::int64_t place = 0;
  for (const Json& seed : results.at("plan").at("seeds").as_array()) {
    bool all = true;
    const std::int64_t own_place = place++;
    for (const std::string& task : tasks_of(results)) {
      if (own_place >= seeds_of(results.at("plan"), task)) continue;
      for (const std::string& arm : arms_of(results)) {
        if (arm == "ngram") continue;  // counted once, whatever the number of seeds
        bool found = false;
        for_runs(results, task, arm,
                 [&](const Json& r) { found = found || r.at("seed").as_int() == seed.as_int(); });
        all = all && found;
      }
    }
    finished += all ? 1 : 0;
  }
  return finished;
}

std::string standing(const Json& results) {
  const int finished = finished_seeds(results);
  const auto planned = static_cast<int>(results.at("plan").at("seeds").size());
  const bool look = results.at("plan").get("level", "look") == "look" || finished <= 3;
  return (finished == planned ? count_of(planned, "seed")
                              : format("%d of %d seeds finished", finished, planned)) +
         ", " + tuning_words(results) + ": " + (look ? "indicative, not a claim" : "claim level");
}

double ngram_bits(const Json& results, const std::string& task) {
  double bits = NAN;
  for_runs(results, task, "ngram", [&](const Json& r) { bits = validation_bits(r); });
  return bits;
}

std::vector<double> bytes_to_cross(const Json& results, const std::string& task,
                                   const std::string& arm) {
  const double bar = ngram_bits(results, task);
  std::vector<double> out;
  if (std::isnan(bar) || arm == "ngram") return out;
  for_runs(results, task, arm, [&](const Json& r) {
    double before_bytes = NAN, before_bits = NAN, crossed = NAN;
    bool measured = false;
    for (const Json& point : r.at("curve").as_array()) {
      if (point.size() < 3) continue;
      measured = true;
      const double bytes = point[0].as_double(), bits = point[2].as_double();
      if (bits < bar && std::isnan(crossed)) {
        crossed = std::isnan(before_bits)
                      ? bytes
                      : before_bytes +
                            (bytes - before_bytes) * (before_bits - bar) / (before_bits - bits);
      }
      before_bytes = bytes;
      before_bits = bits;
    }
    if (measured) out.push_back(crossed);
  });
  return out;
}

Json findings(const Json& results) {
  Json out = Json::object();
  out["seeds_planned"] = static_cast<std::int64_t>(results.at("plan").at("seeds").size());
  out["seeds_finished"] = finished_seeds(results);
  for (const std::string& task : tasks_of(results)) {
    Json& t = out["tasks"][task] = Json::object();
    if (counts_seeds(task)) t["solved_at"] = question_of(task)->solved;
    const double bar = ngram_bits(results, task);
    if (!std::isnan(bar)) t["ngram_validation_bits_per_byte"] = bar;
    Json& arms = t["arms"] = Json::object();
    for (const std::string& arm : arms_of(results)) {
      const Cell c = cell(results, task, arm);
      if (c.values.empty()) continue;
      Json& a = arms[arm] = Json::object();
      a["median"] = median_of(c.values);
      a["seeds"] = static_cast<std::int64_t>(c.values.size());
      const double agreement = least_agreement(results, task, arm);
      if (!std::isnan(agreement)) a["least_mode_agreement"] = agreement;
      if (counts_seeds(task)) {
        const Interval w = wilson_interval(c.solved, c.seeds);
        a["solved"] = c.solved;
        a["solved_share_wilson_95"] = Json::Array{w.low, w.high};
      }
      const auto crossings = bytes_to_cross(results, task, arm);
      if (crossings.empty()) continue;
      Json& list = a["bytes_to_cross_ngram"] = Json::array();
      for (const double bytes : crossings)
        list.push_back(std::isnan(bytes) ? Json("not crossed") : Json(std::round(bytes)));
    }
    for (const auto& [arm, probability] : front_probabilities(results, task))
      t["on_front_of_quality_and_state"][arm] = probability;
  }
  Json& pairs = out["comparisons"] = Json::array();
  for (const Comparison& c : comparisons(results)) pairs.push_back(c.to_json());
  return out;
}

std::string words_of(std::string metric) {
  std::replace(metric.begin(), metric.end(), '_', ' ');
  return metric;
}

std::string show_value(const std::string& task, const Cell& c) {
  if (c.values.empty()) return "-";
  return format(is_byte_task(task) ? "%.3f" : "%.2f", median_of(c.values));
}

std::string solved_words(const Cell& c) {
  const Interval w = wilson_interval(c.solved, c.seeds);
  return format("%d of %d [%.2f, %.2f]", c.solved, c.seeds, w.low, w.high);
}

std::string solved_note(const Json& results) {
  std::string text;
  for (const std::string& task : tasks_of(results)) {
    if (!counts_seeds(task)) continue;
    const double at = question_of(task)->solved;
    const std::string primary = results.at("tasks").at(task).at("primary").as_string();
    text += (text.empty() ? "" : "; ") + task + ": " + words_of(primary) + " of " +
            (primary == "stop_ratio" ? format("%g to %g", at, 2 - at) : format("%g or more", at));
  }
  return text;
}

std::string verdict(const Json& results, const std::string& task) {
  const Question* q = question_of(task);
  const bool higher = q ? q->higher : true;
  const Json& info = results.at("tasks").at(task);
  std::vector<std::pair<double, std::string>> order;
  for (const std::string& arm : arms_of(results)) {
    const Cell c = cell(results, task, arm);
    if (!c.values.empty()) order.emplace_back(median_of(c.values), arm);
  }
  if (order.empty()) return "no finished run yet.";
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return goodness(info, a.first) > goodness(info, b.first);
  });
  std::string text;
  for (std::size_t i = 0; i < order.size(); ++i) {
    text +=
        (i ? ", " : "") + order[i].second + " " + format(higher ? "%.2f" : "%.3f", order[i].first);
  }
  if (counts_seeds(task)) {
    // Solved or not is two-valued: a share with its interval, not a mean with a deviation.
    std::string solved, unsolved;
    for (const auto& [value, arm] : order) {
      const Cell c = cell(results, task, arm);
      std::string& list = c.solved ? solved : unsolved;
      list += (list.empty() ? "" : ", ") + arm + (c.solved ? " " + solved_words(c) : "");
    }
    text += solved.empty() ? "; solved by no seed of any arm"
                           : "; seeds solved: " + solved +
                                 (unsolved.empty() ? "" : "; by no seed: " + unsolved);
  }
  for (const Comparison& c : comparisons(results)) {
    if (c.task == task) text += "; " + sentence(c);
  }
  return text + ".";
}

std::string crossing_sentence(const Json& results, const std::string& task) {
  std::string text;
  bool any = false;
  for (const std::string& arm : arms_of(results)) {
    const auto all = bytes_to_cross(results, task, arm);
    if (all.empty()) continue;
    std::vector<double> crossed;
    for (const double bytes : all) {
      if (!std::isnan(bytes)) crossed.push_back(bytes);
    }
    any = any || !crossed.empty();
    text += (text.empty() ? "" : ", ") + arm + " " +
            (crossed.empty() ? "not crossed" : short_number(median_of(crossed)));
    if (!crossed.empty() && crossed.size() < all.size())
      text += format(" (%zu of %zu seeds)", crossed.size(), all.size());
  }
  if (text.empty()) return "";
  return "training bytes until an arm is better than the n-gram, which counted the whole training "
         "split (" +
         format("%.3f", ngram_bits(results, task)) +
         " bits/byte, validation): " + (any ? text : "none within this budget") + ".";
}

double speed(const Json& timings, const std::string& arm, const std::string& key) {
  const Json* s = timings.find("speed");
  if (!s || !s->find("arms") || !s->at("arms").find(arm)) return NAN;
  const Json* v = s->at("arms").at(arm).find(key);
  return v ? v->as_double() : NAN;
}

bool speed_disturbed(const Json& timings) {
  const Json* s = timings.find("speed");
  return s && s->get("disturbed", false);
}

std::string speed_text(const Json& timings, const std::string& arm, const std::string& key,
                       double factor) {
  const double v = speed(timings, arm, key) * factor;
  return std::isnan(v) ? "-" : format(speed_disturbed(timings) ? "~%.0f" : "%.0f", v);
}

std::string cost_task(const Json& results, const Json& timings) {
  const Json* s = timings.find("speed");
  const std::string measured = s ? s->get("task", "") : "";
  return results.at("tasks").find(measured) ? measured : tasks_of(results).back();
}

double median_timing(const Json& results, const Json& timings, const std::string& arm,
                     const char* key) {
  std::vector<double> x;
  for (const Json& r : results.at("runs").as_array()) {
    if (r.at("arm").as_string() != arm) continue;
    const Json* t = timings.at("runs").find(r.at("id").as_string());
    if (t && t->find(key)) x.push_back(t->at(key).as_double());
  }
  return x.empty() ? NAN : median_of(x);
}

std::string state_text(const Json& results, const std::string& arm) {
  const double a = state_at(results, arm, "64"), b = state_at(results, arm, "65536");
  return std::isnan(a) ? "-" : b > 1.5 * a ? "grows" : short_number(a);
}

std::string cost_sentence(const Json& results, const Json& timings) {
  const auto decode = [&](const std::string& arm) {
    std::vector<double> us;
    for (const char* column : kDecodeColumns) us.push_back(speed(timings, arm, column));
    return us;
  };
  const auto unknown = [](const std::vector<double>& us) {
    return std::any_of(us.begin(), us.end(), [](double v) { return std::isnan(v); });
  };
  const std::vector<std::string> arms = arms_of(results);
  const std::vector<double> baseline = decode("attention");
  if (std::find(arms.begin(), arms.end(), "attention") == arms.end() || unknown(baseline))
    return "decode cost was not measured against attention.";
  std::vector<std::pair<std::string, std::string>> groups;  // words, arms that they hold of
  for (const std::string& arm : arms) {
    const std::vector<double> own = decode(arm);
    if (arm == "attention" || unknown(own)) continue;
    const double from = crossover_tokens(baseline, own);
    const std::string words = std::isinf(from) ? "dearer up to 64k"
                              : from <= static_cast<double>(kDepths[0])
                                  ? "cheaper at any length"
                                  : "cheaper from " + short_number(std::round(from)) + " tokens on";
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == words; });
    if (group == groups.end()) {
      groups.emplace_back(words, arm);
    } else {
      group->second += ", " + arm;
    }
  }
  std::string text;
  for (const auto& [words, names] : groups)
    text += (text.empty() ? "" : "; ") + words + ": " + names;
  return "decoding one token against attention: " + text + "." +
         (speed_disturbed(timings) ? " (Measured on a busy machine: approximate.)" : "");
}

}  // namespace subquad
