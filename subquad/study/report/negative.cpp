// Negative and null results, and what limits the numbers.
#include <algorithm>
#include <cmath>

#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

std::string item(const std::string& html) { return "<li>" + html + "</li>"; }

std::string unsolved(const View& view) {
  std::string h;
  for (const std::string& task : view.tasks) {
    const Question* q = question_of(task);
    if (!q || std::isnan(q->solved)) continue;
    std::string failed, mixed;
    for (const std::string& arm : view.arms) {
      const Cell c = cell(view.results, task, arm);
      if (c.values.empty()) continue;
      if (c.solved == 0) failed += (failed.empty() ? "" : ", ") + arm;
      if (c.solved > 0 && c.solved < c.seeds)
        mixed += (mixed.empty() ? "" : ", ") + arm + " " + solved_words(c);
    }
    if (!failed.empty())
      h += item(html_escape(task) + ": solved by no seed of " + html_escape(failed) + ".");
    if (!mixed.empty())
      h += item(html_escape(task) + ": solved by some seeds only: " + html_escape(mixed) +
                ". Which one a new seed would do is not known.");
  }
  return h;
}

std::string undecided(const View& view) {
  std::string h;
  for (const Comparison& c : comparisons(view.results)) {
    if (c.verdict == "undecided" || c.verdict == "equivalent" || c.verdict == "too few seeds")
      h += item(
          html_escape(c.task + (c.declared ? ", declared: " : ", exploratory: ") + sentence(c)) +
          ".");
  }
  return h;
}

std::string failures(const View& view) {
  std::string h;
  for (const Json& f : view.results.at("failed").as_array())
    h += item(code(f.at("id").as_string()) + ": " + html_escape(f.at("message").as_string()));
  for (const Json& r : view.results.at("runs").as_array()) {
    const Json* skipped = r.find("skipped_steps");
    if (skipped && skipped->is_number() && skipped->as_double() > 0)
      h += item(code(r.get("id", "")) + ": " + skipped->dump() + " steps skipped");
  }
  return h;
}

// Lowest agreement of the two execution modes, and where; 2: nobody compared.
std::string modes(const View& view) {
  double worst = 2;
  std::string where;
  for (const Json& r : view.results.at("runs").as_array()) {
    const Json* agreement = r.find("mode_agreement");
    if (!agreement) continue;
    for (const auto& [length, share] : agreement->as_object()) {
      if (share.is_null() || share.as_double() >= worst) continue;
      worst = share.as_double();
      where = r.get("id", "") + " at length " + length;
    }
  }
  if (worst > 1) return "";
  // Rounded down: 100 % is said of nothing less.
  return "<p>Every trained model was evaluated over whole sequences and one position at a time; "
         "the two agreed in their prediction " +
         (worst >= 1
              ? std::string("in every scored position")
              : format("on at least %.2f %% of scored positions", std::floor(1e4 * worst) / 100) +
                    " (least: " + html_escape(where) + ")") +
         " in every run and length.</p>";
}

std::string audit_items(const View& view) {
  if (view.in.audit.is_null()) return item("The study was not audited.");
  std::string h;
  for (const Json& c : view.in.audit.at("checks").as_array()) {
    const std::string& light = c.at("light").as_string();
    if (light != "WARN" && light != "FAIL") continue;
    h += item("<b>" + html_escape(c.at("id").as_string()) + "</b> does not hold" +
              (light == "WARN" ? " fully" : "") + ": " + html_escape(c.at("title").as_string()) +
              ".");
  }
  return h;
}

}  // namespace

std::string negative_section(const View& view) {
  const std::string none = unsolved(view), open = undecided(view), failed = failures(view);
  std::string h;
  if (!none.empty()) h += "<h3>Not solved</h3><ul>" + none + "</ul>";
  if (!open.empty())
    h += "<h3>Not decided, or equal</h3><ul>" + open + "</ul>" +
         note(
             "\"Undecided\" is not \"equal\": the sentence says how large a difference this "
             "study would have found.");
  h += "<h3>Failed runs and skipped steps</h3>" +
       (failed.empty() ? "<p>None. A failed run would count as not solved.</p>"
                       : "<ul>" + failed + "</ul>");
  return h + modes(view);
}

std::string limits_section(const View& view) {
  const Json* tuning = view.results.find("tuning");
  const int seeds = finished_seeds(view.results);
  std::string h = "<ul>";
  if (!tuning || tuning->is_null())
    h += item(
        "One recipe for all arms, not tuned per arm: a different learning rate may change "
        "an order.");
  h += item("Small models and small budgets: what holds here need not hold at scale.");
  h += item(seeds < 2 ? std::string("One seed shows no spread: a difference may be luck.")
                      : format("Intervals over %d seeds are wide; \"undecided\" is not \"equal\".",
                               seeds));
  h += item("Times are those of this implementation on this machine, not of the architectures.");
  h += item("Synthetic tasks ask one thing each; none of them stands for language.");
  return h + "</ul><h3>From the audit</h3><ul>" + audit_items(view) + "</ul>";
}

}  // namespace subquad::report
