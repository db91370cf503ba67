// Curves over training and over positions.
#pragma once

#include <string>

#include "subquad/study/report/html.h"

namespace subquad::report {

// What a learning curve is drawn over.
enum class Budget : std::uint8_t { tokens, flops, seconds };
// Training loss: seeds thin (over tokens only), their median thick. "" if the budget is not known.
std::string curve_chart(const View& view, const std::string& task, Budget budget);
// Validation bits per byte during training, with the n-gram's as a dashed line; "" of other tasks.
std::string validation_chart(const View& view, const std::string& task);
// Loss by how much of the window a model has seen; "" of tasks that do not say.
std::string position_chart(const View& view, const std::string& task);

}  // namespace subquad::report
