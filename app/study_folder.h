// Files of a study folder that several commands write.
#pragma once

#include <string>

namespace subquad::app {

// report.html anew, from results, timings, provenance and audit as they lie in the folder.
// Errors: no results.json.
void write_report(const std::string& folder);

}  // namespace subquad::app
