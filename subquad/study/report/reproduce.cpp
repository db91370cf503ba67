// Data, commands, hashes, machine, and every run.
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

std::string short_hash(const Json& run, const char* key) {
  const std::string hash = run.get(key, "");
  return hash.empty() ? "-"
                      : "<code title='" + html_escape(hash) + "'>" +
                            html_escape(hash.substr(0, 12)) + "</code>";
}

std::string run_table(const View& view) {
  std::map<std::string, const Json*> records;
  for (const Json& r : view.in.ledger.records) {
    if (r.get("kind", "") == "run" && r.get("status", "") == "done") records[r.get("id", "")] = &r;
  }
  std::string rows, csv = "ledger_number,run,seed,primary_metric,config_sha256,weights_sha256\n";
  for (const Json& r : view.results.at("runs").as_array()) {
    const std::string id = r.at("id").as_string(), task = r.at("task").as_string();
    const auto record = records.find(id);
    const std::string number = record == records.end() ? "-"
                               : record->second->get("number", 0) > 0
                                   ? std::to_string(record->second->get("number", 0))
                                   : "-";
    double value = NAN;
    for (const Observation& o : primary_observations(view, task, r.at("arm").as_string()))
      value = o.run == id ? o.value : value;
    rows += table_row({html_escape(id), number, r.at("seed").dump(), metric_text(view, task, value),
                       short_hash(r, "config_sha256"), short_hash(r, "weights_sha256")});
    csv += number + "," + csv_cell(id) + "," + r.at("seed").dump() + "," + csv_cell(value) + "," +
           csv_cell(r.get("config_sha256", "")) + "," + csv_cell(r.get("weights_sha256", "")) +
           "\n";
  }
  return table({"run", "ledger number", "seed", "primary metric", "configuration SHA-256",
                "weights SHA-256"},
               rows) +
         note(csv_link("runs", csv));
}

std::string data_rows(const Json& facts) {
  std::string rows;
  for (const auto& [key, value] : facts.as_object())
    rows += table_row({html_escape(key), value_cell(value)});
  return rows;
}

}  // namespace

std::string data_section(const View& view) {
  std::string h;
  for (const std::string& task : view.tasks) {
    const Json* data = nullptr;
    for (const Json& r : view.results.at("runs").as_array()) {
      if (r.at("task").as_string() == task && !data) data = r.find("data");
    }
    if (!data || !data->is_object()) continue;
    const std::string separation = data->get("separation", ""), split = data->get("split", "");
    h += "<p><b>" + html_escape(task) + "</b>" +
         (separation.empty() ? "" : ": " + html_escape(separation)) +
         (split.empty() ? "" : "; split " + html_escape(split)) + ".</p>" +
         details("Digests of " + html_escape(task), table({}, data_rows(*data), "facts"));
  }
  return h.empty() ? "<p>No run has finished yet: no data were recorded.</p>" : h;
}

std::string reproduce_section(const View& view) {
  const Json& p = view.in.provenance;
  const bool known = p.is_object();
  std::string rows = table_row({"plan SHA-256", code(view.results.at("plan_sha256").as_string())});
  if (known) {
    for (const auto& [key, value] : p.as_object())
      rows += table_row({html_escape(key), value_cell(value)});
  }
  double seconds = 0;
  if (const Json* runs = view.timings.find("runs")) {
    for (const auto& [id, t] : runs->as_object())
      seconds += t.get("train_seconds", 0.0) + t.get("evaluate_seconds", 0.0);
  }
  const std::string command =
      known ? p.get("reproduce", p.get("command", "subquad compare").c_str()) : "subquad compare";
  return "<p>The same plan gives the same weights and the same <code>results.json</code>, bit for "
         "bit, on the same kind of processor. Every number traces to a run, a seed and the plan "
         "in the ledger.</p><pre>" +
         html_escape(command) + "</pre>" +
         (seconds > 0 ? note(format("It took %.0f worker minutes, one thread each.",
                                    std::max(1.0, seconds / 60)))
                      : "") +
         "<h3>Provenance</h3>" + table({}, rows, "facts") +
         details(format("Every run (%d)", static_cast<int>(view.results.at("runs").size())),
                 run_table(view));
}

}  // namespace subquad::report
