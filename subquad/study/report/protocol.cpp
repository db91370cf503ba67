// What was promised and what ran: the plan, the frozen protocol, the ledger.
#include <algorithm>
#include <map>
#include <set>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

// A run of the task that has the field; null: none.
const Json* any_run(const View& view, const std::string& task, const char* field) {
  for (const Json& r : view.results.at("runs").as_array()) {
    if (r.at("task").as_string() == task && r.get("arm", "") != "ngram" && r.find(field)) return &r;
  }
  return nullptr;
}

std::string task_table(const View& view) {
  std::string rows;
  for (const std::string& t : view.tasks) {
    const Json& info = view.task(t);
    const Question* q = question_of(t);
    const Json* run = any_run(view, t, "tokens");
    const Json* steps = run ? run->find("steps") : nullptr;
    rows += table_row(
        {html_escape(t), html_escape(words_of(view.primary(t))), info.at("train_length").dump(),
         info.at("primary_length").dump(), format("%.3g", info.at("chance").as_double()),
         q && q->solved == q->solved ? format("%g", q->solved) : "-",
         run ? short_number(run->at("tokens").as_double()) : "-", steps ? steps->dump() : "-"});
  }
  return table({"task", "primary metric", "trained at length", "decided at length", "chance",
                "a seed counts as solved from", "training tokens", "steps"},
               rows);
}

std::string optimiser(const Json& plan) {
  const Json* train = plan.find("train");
  if (!train) return "";
  const double rate = train->get("learning_rate", 0.0);
  return "<p>AdamW (" + format("%g, %g", train->get("beta1", 0.9), train->get("beta2", 0.98)) +
         format("), weight decay %g, clipping at %g, ", train->get("weight_decay", 0.0),
                train->get("clip", 0.0)) +
         format("%d steps of warm-up, schedule ", static_cast<int>(train->get("warmup_steps", 0))) +
         html_escape(train->get("schedule", "")) +
         format(" to %g of the peak, ", train->get("final_fraction", 0.0)) +
         (rate > 0 ? format("peak rate %g", rate) : "peak rate of each task's own") +
         ", precision " + html_escape(train->get("precision", "f32")) + ".</p>";
}

std::string list_of(const Json& document, const char* key) {
  const Json* list = document.find(key);
  if (!list || !list->is_array() || list->size() == 0) return "";
  std::string h = std::string("<h3>") + key + "</h3><ul>";
  for (const Json& item : list->as_array())
    h += "<li>" + html_escape(item.is_string() ? item.as_string() : item.dump()) + "</li>";
  return h + "</ul>";
}

std::string frozen(const View& view) {
  const Json& protocol = view.in.protocol;
  if (protocol.is_null())
    return "<p><b>No protocol was frozen</b> before the first run: hypotheses and exclusion rules "
           "were not written down beforehand, and this study is a look. <code>subquad protocol "
           "freeze STUDY.toml</code> does that.</p>";
  std::string h = "<p>Frozen " + html_escape(protocol.get("frozen", "")) + ", hash " +
                  code(protocol.get("sha256", "")) + ".</p>";
  h += list_of(protocol, "hypotheses") + list_of(protocol, "exclusion");
  const Json* amendments = protocol.find("amendments");
  if (!amendments || amendments->size() == 0) return h + "<p>No amendment.</p>";
  std::string rows;
  for (const Json& a : amendments->as_array()) {
    const Json* changed = a.find("changed");
    rows += table_row({html_escape(a.get("date", "")), html_escape(a.get("reason", "")),
                       changed ? code(changed->dump()) : "-"});
  }
  return h + "<h3>amendments</h3>" + table({"date", "reason", "changed"}, rows, "facts");
}

std::string ledger(const View& view) {
  const auto& records = view.in.ledger.records;
  if (records.empty()) return "<p>The ledger was not read.</p>";
  std::map<std::string, int> kinds;
  std::set<std::string> of_study;
  for (const char* list : {"runs", "failed"}) {
    for (const Json& r : view.results.at(list).as_array()) of_study.insert(r.get("id", ""));
  }
  std::string first, last;
  int others = 0;
  for (const Json& r : records) {
    const std::string kind = r.get("kind", "");
    ++kinds[kind == "run" ? "run, " + r.get("status", "") : kind];
    if (kind != "run") continue;
    const std::string started = r.get("started", ""), ended = r.get("ended", "");
    if (!started.empty() && (first.empty() || started < first)) first = started;
    last = std::max(last, ended);
    others += of_study.contains(r.get("id", "")) ? 0 : 1;
  }
  std::string counts;
  for (const auto& [kind, count] : kinds)
    counts += (counts.empty() ? "" : "; ") + html_escape(kind) + ": " + std::to_string(count);
  std::string h = "<p>Ledger: " + format("%zu records (", records.size()) + counts +
                  format("), %d of them of runs outside the plan. ", others) +
                  "First run started " + html_escape(first) + ", last ended " + html_escape(last) +
                  " (UTC). Last record " + code(records.back().get("sha256", "")) + ".</p>";
  if (view.in.ledger.problems.empty())
    return h +
           "<p>Its chain of hashes is intact: no record was changed, removed or put in "
           "later.</p>";
  h += "<p><b>Its chain of hashes is broken:</b></p><ul>";
  for (const std::string& p : view.in.ledger.problems) h += "<li>" + html_escape(p) + "</li>";
  return h + "</ul>";
}

}  // namespace

std::string protocol_section(const View& view) {
  const Json& plan = view.results.at("plan");
  std::string seeds;
  for (const Json& s : plan.at("seeds").as_array()) seeds += (seeds.empty() ? "" : ", ") + s.dump();
  return "<p>Level <b>" + html_escape(plan.get("level", "look")) + "</b>. Seeds " +
         html_escape(seeds) +
         ": a seed sets initial weights and the order of the data, the same data for every arm. "
         "Tests open once, at the end of the schedule; the primary metric of a task and the "
         "length at which it decides are the task's own.</p>" +
         task_table(view) + optimiser(plan) + frozen(view) + ledger(view);
}

}  // namespace subquad::report
