// The report's parts below the charts, as HTML, and the table they share.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

std::string table_row(const std::vector<std::string>& cells, const char* tag);  // cells are HTML
std::string table(const std::vector<std::string>& head, const std::string& rows);

// Sizes and times of every arm.
std::string costs_section(const Json& results, const Json& timings);
// Arms in words, what is equal for all, and the configuration of each.
std::string compared_section(const Json& results);
// Failed runs, what was not solved, what the numbers cannot say.
std::string limits_section(const Json& results);
// Zero-shot forecasts by arm: ratios to Seasonal Naive, by step of the horizon and by set, annual
// series and the control apart; empty without the task forecast. (forecast_section.cpp)
std::string forecast_section(const Json& results);
// The checks of audit.json with their numbers; how to make them if it is null.
std::string audit_section(const Json& results, const Json& audit);
std::string provenance_section(const Json& results, const Json& provenance);

}  // namespace subquad
