#include "subquad/study/report/report.h"

#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "app/study_folder.h"
#include "subquad/base/file.h"
#include "subquad/study/published.h"

namespace subquad::app {

void write_report(const std::string& folder) {
  write_file_atomically(folder + "/report.html", html_report(read_report_input(folder)));
}

int report(Arguments arguments) {
  std::string folder, published;
  Options options("report", "Write report.html of a study folder again, and print its table.",
                  "subquad report runs/default-3f9a21c4");
  options.positional("study-folder", folder, "folder with results.json", true)
      .option(
          "--published", published,
          "numbers and orderings of a paper to show beside the study's; copied into the folder");
  if (!options.parse(arguments)) return 0;
  ReportInput in = read_report_input(folder);
  if (!published.empty()) {
    const std::string text = read_file(published);
    parse_published(text, published);
    write_file_atomically(folder + "/published.toml", text);
    in.published = text;
  }
  write_file_atomically(folder + "/report.html", html_report(in));
  std::printf("%s\n  report  %s/report.html\n", terminal_summary(in.results, in.timings).c_str(),
              folder.c_str());
  return 0;
}

}  // namespace subquad::app
