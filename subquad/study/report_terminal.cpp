#include <algorithm>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report.h"

namespace subquad {
std::string terminal_summary(const Json& results, const Json& timings) {
  const auto tasks = tasks_of(results);
  const auto arms = arms_of(results);
  std::string out = format("%-22s", "");
  for (const std::string& t : tasks)
    out += format(" %9s", question_of(t) ? question_of(t)->heading : t.c_str());
  out += format(" %8s %8s  %s\n%-22s", "state", "train", "decode us/token", "");
  for (const std::string& t : tasks) {
    const Json& info = results.at("tasks").at(t);
    const std::string p = info.at("primary").as_string();
    const std::string unit = p == "stop_ratio"      ? "stop"
                             : p == "bits_per_byte" ? "bits/byte"
                             : p == "wql_ratio"     ? "rel. WQL"
                             : p == "pinball"       ? "pinball"
                                                    : "acc";
    const std::int64_t factor = info.at("primary_length").as_int() /
                                std::max<std::int64_t>(1, info.at("train_length").as_int());
    out += format(" %9s", (unit + (factor > 1 ? " " + std::to_string(factor) + "x" : "")).c_str());
  }
  out += format(" %8s %8s  %5s %5s %5s %5s\n", "bytes", "ktok/s", "@64", "@1k", "@16k", "@64k");
  for (const std::string& arm : arms) {
    out += format("%-22s", arm.c_str());
    for (const std::string& t : tasks) {
      const Cell c = cell(results, t, arm);
      const std::string stars = c.solved > 4 ? "*" + std::to_string(c.solved)
                                             : std::string(static_cast<std::size_t>(c.solved), '*');
      out += format(" %5s%-4s", show_value(t, c).c_str(), stars.c_str());
    }
    out += format(" %8s %8s ", state_text(results, arm).c_str(),
                  speed_text(timings, arm, "train_tokens_per_second", 1e-3).c_str());
    for (const char* column : kDecodeColumns)
      out += format(" %5s", speed_text(timings, arm, column).c_str());
    out += "\n";
  }
  out += "\nMedian over seeds.";
  const std::string solved = solved_note(results);
  if (!solved.empty()) out += " * = a seed that solved the task\n(" + solved + ").";
  if (speed_disturbed(timings))
    out +=
        "\n~ = measured while other programs used the machine: run the same command again when it "
        "is quiet.";
  out += "\nIn short (" + standing(results) + ")\n";
  for (const std::string& t : tasks)
    out += format("  %-9s ", t.c_str()) + verdict(results, t) + "\n";
  for (const std::string& t : tasks) {
    const std::string crossing = crossing_sentence(results, t);
    if (!crossing.empty()) out += "            " + crossing + "\n";
  }
  out += "  cost      " + cost_sentence(results, timings) + "\n";
  return out;
}

}  // namespace subquad
