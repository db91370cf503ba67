// Samples of the task forecast, and what is answered to them, as a study keeps them for pictures.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

// {"name", "levels", "stamps", "history", "actual"}: the last values of `past`, three horizons or 48
// if that is more; stamps are of these and of the steps; missing values are null. Numbers keep six
// digits. `stamp` names the place of past[i], of steps behind its end.
Json sample_json(const std::string& name, std::span<const double> past,
                 std::span<const double> actual,
                 const std::function<std::string(std::size_t)>& stamp,
                 const std::vector<double>& levels);
// [level][step] as arrays.
Json answer_json(const std::vector<std::vector<double>>& quantiles);

}  // namespace subquad
