// The report: one HTML file that works offline, and the table and sentences a terminal shows.
#pragma once

#include <string>

#include "subquad/io/json.h"

namespace subquad {

// Plain text: the table, then "In short", one sentence per question with an interval. `level` look:
// indicative only.
std::string terminal_summary(const Json& results, const Json& timings);
// Self-contained HTML, no external reference. `provenance`: build, machine, commands. `audit`:
// audit.json; null: not audited.
std::string html_report(const Json& results, const Json& timings, const Json& provenance,
                        const Json& audit = {});

}  // namespace subquad
