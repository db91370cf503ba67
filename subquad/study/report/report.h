// The report: one HTML file that works offline, and the table and sentences a terminal shows.
#pragma once

#include <string>

#include "subquad/io/json.h"
#include "subquad/study/ledger.h"

namespace subquad {

// What a report is written from, as it lies in a study folder; null: not there.
struct ReportInput {
  Json results = {};     // results.json
  Json timings = {};     // timings.json
  Json provenance = {};  // build, machine, commands
  Json audit = {};       // audit.json
  Json protocol = {};    // plan.protocol.json, frozen
  LedgerCheck ledger = {};
  std::string published = {};  // text of published.toml
};
// Errors: no results.json.
ReportInput read_report_input(const std::string& folder);

// Plain text: the table, then "In short", one sentence per question with an interval.
std::string terminal_summary(const Json& results, const Json& timings);
// Self-contained HTML: no script, no reference to anything outside. A section whose evidence is
// damaged says what it could not read; the others stand.
// Errors: results without plan, tasks or runs.
std::string html_report(const ReportInput& in);

}  // namespace subquad
