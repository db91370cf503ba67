// The report's charts, each a <figure> with the CSV behind it; empty where there is nothing to
// draw.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

using Arms = std::vector<std::string>;

// A link that saves `csv` as NAME.csv; the data are in the link itself.
std::string csv_link(const std::string& name, const std::string& csv);
std::string legend(const Arms& arms);

std::string length_chart(const Json& results, const std::string& task, const Arms& arms);
std::string curve_chart(const Json& results, const std::string& task, const Arms& arms);
// Validation bits per byte during training, with the n-gram's as a dashed line.
std::string validation_chart(const Json& results, const std::string& task, const Arms& arms);
std::string cost_chart(const Json& results, const Json& timings, const std::string& task,
                       const Arms& arms);
std::string position_chart(const Json& results, const std::string& task, const Arms& arms);

}  // namespace subquad
