// What a study reads: its plan, its ledger, data in lines and in tables.
#include <filesystem>

#include "subquad/data/series/series.h"
#include "subquad/study/ledger.h"
#include "subquad/study/plan.h"
#include "subquad/task/task.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {

// A plan that is read is the same plan after it was written.
bool plan(std::string_view input) {
  return accepted([&] {
    const StudyPlan p = parse_plan(std::string(input), "plan.toml");
    const StudyPlan again = parse_plan(p.to_toml(), "again.toml");
    promise(again.hash() == p.hash(), "a written plan has the same hash");
  });
}

// First byte: "a" appends the lines that follow as records; else they are the file.
bool ledger(std::string_view input) {
  const bool append = input.starts_with('a');
  if (!input.empty()) input.remove_prefix(1);
  const std::string path = scratch_file("ledger.jsonl", append ? std::string_view() : input);
  accepted([&] { (void)check_ledger(path); });
  return accepted([&] {
    Ledger l(path);
    if (!append) return;
    while (!input.empty()) {
      const std::size_t end = std::min(input.find('\n'), input.size());
      l.append(Json::parse(input.substr(0, end), "record"));
      input.remove_prefix(std::min(end + 1, input.size()));
    }
    promise(Ledger(path).records() == l.records(), "what was appended is read");
    promise(check_ledger(path).problems.empty(), "what was appended is intact");
  });
}

bool jsonl(std::string_view input) {
  const std::string path = scratch_file("data.jsonl", input);
  return accepted([&] {
    TaskOptions options;
    options.data = path;
    const auto task = make_task("tokens", options);
    (void)task->spec();
    (void)task->describe_sample(0);
  });
}

// First byte: the layout.
bool csv(std::string_view input) {
  if (input.empty()) return false;
  ReadSetup setup;
  const char* layouts[] = {"auto", "long", "wide", "column"};
  setup.layout = layouts[static_cast<unsigned char>(input[0]) % 4];
  setup.max_points = 1 << 16;
  input.remove_prefix(1);
  return accepted([&] {
    const SeriesFile file = parse_series(input, "data.csv", setup);
    for (const TimeSeries& s : file.series) {
      promise(!s.values.empty(), "a series has values");
      (void)s.stamp(static_cast<std::int64_t>(s.values.size()) - 1);
    }
  });
}

}  // namespace subquad::fuzz
