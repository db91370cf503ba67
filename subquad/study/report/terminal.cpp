#include <algorithm>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/report.h"
#include "subquad/study/verdict.h"

namespace subquad {
namespace {

constexpr std::size_t kColumns = 100;

// Words up to the right margin; lines after the first are indented.
std::string wrapped(const std::string& first, const std::string& indent, const std::string& text) {
  std::string out, line = first;
  std::size_t at = 0;
  bool empty = true;  // nothing but the indentation
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!empty && line.size() + 1 + word.size() > kColumns) {
      out += line + "\n";
      line = indent;
      empty = true;
    }
    line += (empty ? "" : " ") + word;
    empty = false;
    at = end + 1;
  }
  return out + line + "\n";
}

std::string head(const Json& results, const std::vector<std::string>& tasks) {
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
  return out +
         format(" %8s %8s  %5s %5s %5s %5s\n", "bytes", "ktok/s", "@64", "@1k", "@16k", "@64k");
}

std::string rows(const Json& results, const Json& timings, const std::vector<std::string>& tasks) {
  std::string out;
  for (const std::string& arm : arms_of(results)) {
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
  return out;
}

}  // namespace

std::string terminal_summary(const Json& results, const Json& timings) {
  const auto tasks = tasks_of(results);
  std::string out = head(results, tasks) + rows(results, timings, tasks) + "\nMedian over seeds.";
  const std::string solved = solved_note(results);
  if (!solved.empty()) out += " * = a seed that solved the task\n(" + solved + ").";
  if (speed_disturbed(timings))
    out +=
        "\n~ = measured while other programs used the machine: run the same command again when it "
        "is quiet.";
  out += "\n\nIn short (" + standing(results) + ")\n";
  std::size_t width = 5;
  for (const std::string& t : tasks) width = std::max(width, t.size());
  const std::string indent(width + 4, ' ');
  const auto name = [&](std::string text) {
    text.resize(width + 2, ' ');
    return "  " + text;
  };
  for (const std::string& t : tasks) {
    const ShortVerdict v = short_verdict(results, t);
    out += wrapped(name(t), indent, v.answer);
    for (const std::string& c : v.comparisons) out += wrapped(indent, indent, c);
    const std::string crossing = crossing_sentence(results, t);
    if (!crossing.empty()) out += wrapped(indent, indent, crossing);
  }
  return out + wrapped(name("cost"), indent, cost_sentence(results, timings)) +
         "  Brackets: 95 % intervals. All arms, tests and power: the report.\n";
}

}  // namespace subquad
