#include "subquad/study/report.h"

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "app/study_folder.h"
#include "subquad/base/file.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

Json read_or(const std::string& path, const Json& fallback) {
  return fs::exists(path) ? Json::read(path) : fallback;
}

Json results_of(const std::string& folder) {
  require(fs::exists(folder + "/results.json"), ErrorCode::io, folder,
          " holds no results.json: it is not a study folder, or no seed is complete yet");
  return Json::read(folder + "/results.json");
}

Json timings_of(const std::string& folder) {
  return read_or(folder + "/timings.json", Json::parse(R"({"runs":{}})", "empty"));
}

}  // namespace

void write_report(const std::string& folder) {
  write_file_atomically(folder + "/report.html",
                        html_report(results_of(folder), timings_of(folder),
                                    read_or(folder + "/provenance.json", Json::object()),
                                    read_or(folder + "/audit.json", Json())));
}

int report(Arguments arguments) {
  std::string folder;
  Options options("report", "Write report.html of a study folder again, and print its table.",
                  "subquad report runs/default-3f9a21c4");
  options.positional("study-folder", folder, "folder with results.json", true);
  if (!options.parse(arguments)) return 0;
  write_report(folder);
  std::printf("%s\n  report  %s/report.html\n",
              terminal_summary(results_of(folder), timings_of(folder)).c_str(), folder.c_str());
  return 0;
}

}  // namespace subquad::app
