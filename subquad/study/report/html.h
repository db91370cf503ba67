// Building blocks of the report's sections. Text that comes from a study is escaped where it enters
// HTML; functions that take HTML say so.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "subquad/study/chart.h"
#include "subquad/study/report/report.h"

namespace subquad::report {

// A study as every section looks at it.
struct View {
  explicit View(const ReportInput& in);

  const ReportInput& in;
  const Json& results;
  const Json& timings;
  std::vector<std::string> arms, tasks;
  std::map<std::string, ArmStyle> styles;

  const ArmStyle& style(const std::string& arm) const { return styles.at(arm); }
  const Json& task(const std::string& name) const { return results.at("tasks").at(name); }
  std::string primary(const std::string& task) const;
};

// A metric of one finished run.
struct Observation {
  std::string run;  // id
  std::int64_t seed = 0, length = 0;
  double value = 0;
};
// Of the task's primary metric on the test split; length 0: all lengths.
std::vector<Observation> observations(const View& view, const std::string& task,
                                      const std::string& arm, std::int64_t length = 0);
// The same at the primary length.
std::vector<Observation> primary_observations(const View& view, const std::string& task,
                                              const std::string& arm);
std::string note_of(const Observation& o);  // "parity-mlstm-s0: 0.51"
// What a value of a task's primary metric is worth: 0 is chance, 1 perfect; of a stop ratio the
// distance from 1; of bits per byte 0 is the worst and 1 the best value of this study.
struct Scale {
  double bad = 0, good = 1;
  bool stop = false;
  double share(double value) const;
};
Scale scale_of(const View& view, const std::string& task);
// Of the arm's seeds at the primary length; what is not a number is worth 0.
std::vector<double> scores_of(const View& view, const std::string& task, const std::string& arm);
// Number of digits that a task's metric deserves.
std::string metric_text(const View& view, const std::string& task, double value);

std::string table_row(const std::vector<std::string>& cells, const char* tag = "td");  // HTML
std::string table(const std::vector<std::string>& head, const std::string& rows,
                  const char* style = "");
std::string code(const std::string& text);
std::string details(const std::string& summary, const std::string& body);  // HTML
std::string note(const std::string& html);
// The arm's mark and its name.
std::string arm_label(const View& view, const std::string& arm);
std::string legend(const View& view, const std::vector<std::string>& arms);
// A value as words of one table cell.
std::string value_cell(const Json& value);

// A cell of a CSV: quoted where commas or quotes ask for it.
std::string csv_cell(const std::string& text);
std::string csv_cell(double value);  // empty for NaN
// A link that saves `csv` as NAME.csv; the data are in the link itself.
std::string csv_link(const std::string& name, const std::string& csv);
std::string figure(const std::string& chart, const std::string& name, const std::string& csv,
                   const std::string& caption = {});  // caption: HTML
std::string charts(const std::string& figures);       // a grid; "" of nothing

}  // namespace subquad::report
