#include "subquad/study/report_sections.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "subquad/study/chart.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report_charts.h"

namespace subquad {
namespace {

struct ArmWords {
  const char *arm, *words;
};
const ArmWords kArms[] = {
    {"ngram", "bytes counted, five at a time, on the whole training split; nothing is trained"},
    {"attention", "causal softmax attention; remembers every key and value, so its state grows"},
    {"mlstm", "mLSTM (xLSTM[1:0]): a matrix memory per head with exponential input gate"},
    {"slstm", "sLSTM: scalar memories that feed back into their own gates, step by step"},
    {"xlstm[1:1]", "mLSTM and sLSTM blocks in turn"},
    {"mamba2", "Mamba-2: a matrix memory per head that fades by one input-dependent factor"},
    {"mamba2[-1,1]", "Mamba-2 whose factor may be negative"},
    {"gated_deltanet", "Gated DeltaNet: fades, and erases what a key held before writing to it"},
    {"gated_deltanet[-1,1]", "the same, its erasing may overshoot and flip a sign"},
};

// An empty field for what was not measured.
std::string csv_number(double v) { return std::isnan(v) ? "" : Json(v).dump(); }

// What a plan's match makes equal.
const char* matched_words(const std::string& match) {
  if (match == "flops") return "training FLOPs per token within 1 %";
  if (match == "time") return "measured time per training token within 3 %";
  if (match == "state") return "state bytes of a sequence within 5 % and parameters within 1 %";
  return "parameters within 1 %";
}

}  // namespace

std::string table_row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& c : cells) out += std::string("<") + tag + ">" + c + "</" + tag + ">";
  return out + "</tr>";
}

std::string table(const std::vector<std::string>& head, const std::string& rows) {
  return "<div class='wide'><table><thead>" + table_row(head, "th") + "</thead><tbody>" + rows +
         "</tbody></table></div>";
}

std::string costs_section(const Json& results, const Json& timings) {
  const std::string task = cost_task(results, timings);
  const Json* sizes = results.at("tasks").at(task).find("arms");
  std::string csv =
      "arm,task,parameters,training_macs_per_token,state_64,state_1024,state_16384,state_65536,"
      "train_tokens_per_second,decode_us_64,decode_us_1024,decode_us_16384,decode_us_65536,"
      "peak_bytes\n";
  std::string size_rows, time_rows;
  for (const std::string& arm : arms_of(results)) {
    const Json* a = sizes ? sizes->find(arm) : nullptr;
    if (!a) continue;
    std::vector<std::string> row = {html_escape(arm), short_number(a->at("parameters").as_double()),
                                    short_number(2 * a->at("training_macs_per_token").as_double())};
    csv += "\"" + arm + "\"," + task + "," + a->at("parameters").dump() + "," +
           a->at("training_macs_per_token").dump();
    for (const auto& [depth, bytes] : a->at("state_bytes").as_object()) {
      row.push_back(short_number(bytes.as_double()));
      csv += "," + bytes.dump();
    }
    size_rows += table_row(row, "td");
    const double us = 1e6 / speed(timings, arm, "train_tokens_per_second");
    row = {html_escape(arm), speed_text(timings, arm, "train_tokens_per_second", 1e-3),
           std::isnan(us) ? "-" : format(speed_disturbed(timings) ? "~%.2f" : "%.2f", us)};
    csv += "," + csv_number(speed(timings, arm, "train_tokens_per_second"));
    for (const char* column : kDecodeColumns) {
      row.push_back(speed_text(timings, arm, column));
      csv += "," + csv_number(speed(timings, arm, column));
    }
    const double peak = median_timing(results, timings, arm, "peak_rss_bytes");
    row.push_back(std::isnan(peak) ? "-" : format("%.0f", peak / 1e6));
    csv += "," + csv_number(peak) + "\n";
    time_rows += table_row(row, "td");
  }
  std::string h =
      "<h2>Costs</h2>" +
      table({"arm", "parameters", "training FLOPs per token", "state bytes @64", "@1k", "@16k",
             "@64k"},
            size_rows) +
      table({"arm", "training, 1000 tokens/s", "training, us per token", "decode, us per token @64",
             "@1k", "@16k", "@64k", "peak memory of a run, MB"},
            time_rows) +
      "<p class='note'>Models of the task " + html_escape(task) +
      "; state bytes of one sequence in f32 after 64 to 65536 positions. FLOPs are counted "
      "per operator from the recurrent form, two for a multiply-add, never as 6ND; a training step "
      "counts three forward passes. Peak memory is the median of the workers' own. " +
      csv_link("costs", csv) + "</p>";
  const Json* s = timings.find("speed");
  return h + "<p class='note'>" +
         (s ? "Quiet phase: " + html_escape(s->get("note", ""))
            : std::string("Times were not measured: the quiet phase has not run.")) +
         "</p>";
}

std::string compared_section(const Json& results) {
  const auto tasks = tasks_of(results), arms = arms_of(results);
  std::string h = "<h2>What was compared</h2><ul>";
  for (const std::string& arm : arms) {
    for (const ArmWords& a : kArms) {
      if (arm == a.arm)
        h += "<li><b>" + html_escape(arm) + "</b>: " + html_escape(a.words) + "</li>";
    }
  }
  const std::string match = results.at("plan").at("model").at("match").as_string();
  h +=
      "</ul><p>Equal for all arms: " + std::string(matched_words(match)) + " (<code>match = \"" +
      html_escape(match) +
      "\"</code>), training tokens, data and their order, optimiser and schedule, width and depth. "
      "Different by design: the mixer, and " +
      (match == "state" ? "its key and value sizes, and " : "") +
      "the MLP width that pays for the mixer's size.</p><div class='wide'><table><thead>" +
      "<tr><th>task</th><th class='t'>arm</th><th class='t'>layers</th><th>parameters</th>"
      "<th>MLP width</th></tr></thead><tbody>";
  for (const std::string& t : tasks) {
    const Json& info = results.at("tasks").at(t);
    for (const std::string& arm : arms) {
      const Json* a = info.find("arms") ? info.at("arms").find(arm) : nullptr;
      if (!a) continue;
      std::string layers;
      for (const Json& l : a->at("model").at("layers").as_array())
        layers += (layers.empty() ? "" : ", ") + l.as_string();
      h += "<tr><td>" + html_escape(t) + "</td><td class='t'>" + html_escape(arm) +
           "</td><td class='t'>" + html_escape(layers) + "</td><td>" + a->at("parameters").dump() +
           "</td><td>" + a->at("model").at("mlp_hidden").dump() + "</td></tr>";
      const std::string note = a->get("note", "");
      if (!note.empty())
        h += "<tr><td></td><td class='t' colspan='4'>" + html_escape(note) + "</td></tr>";
    }
  }
  h += "</tbody></table></div>";
  if (results.at("plan").at("model").get("recipe", "default") == "default") {
    h += "<p class='note'>Declared difference: short convolutions are as each architecture "
         "publishes them (mLSTM, Mamba-2 and Gated DeltaNet have one of width 4, "
         "attention and sLSTM none). The recipe \"uniform\" gives every linear arm the same "
         "one.</p>";
  }
  return h;
}

std::string limits_section(const Json& results) {
  const auto tasks = tasks_of(results), arms = arms_of(results);
  std::string h;
  if (results.at("failed").size() > 0) {
    h += "<h2>Failed runs</h2><ul>";
    for (const Json& f : results.at("failed").as_array()) {
      h += "<li><code>" + html_escape(f.at("id").as_string()) +
           "</code>: " + html_escape(f.at("message").as_string()) + "</li>";
    }
    h += "</ul>";
  }
  h += "<h2>Negative results and limits</h2><ul><li>One recipe for all arms, not tuned per arm: a "
       "different learning rate may change an order.</li>"
       "<li>Small models and small budgets: what holds here need not hold at scale.</li><li>" +
       (finished_seeds(results) < 2
            ? std::string("One seed shows no spread: a difference may be luck.")
            : "Intervals over " + std::to_string(finished_seeds(results)) +
                  " seeds are wide; \"undecided\" is not \"equal\".") +
       "</li>";
  for (const std::string& t : tasks) {
    const Question* q = question_of(t);
    if (!q || std::isnan(q->solved)) continue;
    std::string failed;
    for (const std::string& arm : arms) {
      const Cell c = cell(results, t, arm);
      if (!c.values.empty() && c.solved == 0) failed += (failed.empty() ? "" : ", ") + arm;
    }
    if (!failed.empty())
      h += "<li>" + html_escape(t) + ": solved by no seed of " + html_escape(failed) + ".</li>";
  }
  double worst = 2;
  for (const Json& r : results.at("runs").as_array()) {
    for (const auto& [length, agreement] : r.at("mode_agreement").as_object())
      worst = std::min(worst, agreement.as_double());
  }
  h += "</ul>";
  if (worst > 1) return h;  // nobody compared the two forms
  // Rounded down: 100 % is said of nothing less.
  return h +
         "<p>Every trained model was evaluated over whole sequences and one position at a time; "
         "the "
         "two agreed in their prediction " +
         (worst >= 1
              ? "in every scored position"
              : format("on at least %.2f %% of scored positions", std::floor(1e4 * worst) / 100)) +
         " in every run and length.</p>";
}

std::string audit_section(const Json& results, const Json& audit) {
  std::string h = "<h2>Fairness audit</h2>";
  if (audit.is_null())
    return h +
           "<p>Not audited yet: <code>subquad audit</code> of this folder asks 44 questions and "
           "puts the answers here.</p>";
  std::map<std::string, int> counts;
  std::string rows;
  for (const Json& c : audit.at("checks").as_array()) {
    const std::string& light = c.at("light").as_string();
    ++counts[light];
    std::string runs;
    for (const Json& run : c.at("runs").as_array()) runs += " " + run.as_string();
    rows += table_row(
        {html_escape(c.at("id").as_string()), light == "FAIL" ? "<b>FAIL</b>" : html_escape(light),
         html_escape(c.at("title").as_string()),
         html_escape(c.at("numbers").as_string()) +
             (runs.empty() ? "" : "<br><code>" + html_escape(runs) + "</code>")},
        "td");
  }
  const bool claim = results.at("plan").get("level", "look") == "claim";
  h += format("<p>%d PASS, %d WARN, %d FAIL, %d not applicable", counts["PASS"], counts["WARN"],
              counts["FAIL"], counts["N.A."]) +
       (counts["FAIL"] == 0 ? "."
        : claim             ? ": the claim fails its audit."
                            : ": would fail a claim.") +
       "</p>";
  return h + "<div class='wide'><table class='facts'><tbody>" + rows + "</tbody></table></div>";
}

std::string provenance_section(const Json& results, const Json& provenance) {
  std::string h = "<h2>Provenance</h2><div class='wide'><table class='facts'><tbody>";
  h += table_row({"plan SHA-256", "<code>" + results.at("plan_sha256").as_string() + "</code>"},
                 "td");
  for (const auto& [key, value] : provenance.as_object()) {
    h += table_row(
        {html_escape(key),
         "<code>" + html_escape(value.is_string() ? value.as_string() : value.dump()) + "</code>"},
        "td");
  }
  for (const std::string& t : tasks_of(results)) {
    for (const Json& r : results.at("runs").as_array()) {
      if (r.at("task").as_string() != t || !r.find("data")) continue;
      for (const auto& [key, value] : r.at("data").as_object()) {
        h += table_row(
            {html_escape(t + " " + key),
             "<code>" + html_escape(value.is_string() ? value.as_string() : value.dump()) +
                 "</code>"},
            "td");
      }
      break;
    }
  }
  h += "</tbody></table></div>";
  return h;
}

}  // namespace subquad
