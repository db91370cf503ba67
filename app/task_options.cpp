#include "app/task_options.h"

namespace subquad::app {

Json parse_task_options(const std::vector<std::string>& parts) {
  Json options;
  for (const std::string& part : parts) {
    const std::size_t equals = part.find('=');
    require(equals != std::string::npos && equals > 0, ErrorCode::invalid_argument,
            "--task-options: got \"", part, "\", wanted KEY=VALUE");
    const std::string key = part.substr(0, equals), value = part.substr(equals + 1);
    require(!options.is_object() || !options.contains(key), ErrorCode::invalid_argument,
            "--task-options: ", key, " is given twice");
    const std::string digits = value.starts_with('-') ? value.substr(1) : value;
    const bool number = !digits.empty() && digits.size() < 19 &&
                        digits.find_first_not_of("0123456789") == std::string::npos;
    options[key] = number                                ? Json(std::int64_t{std::stoll(value)})
                   : value == "true" || value == "false" ? Json(value == "true")
                                                         : Json(value);
  }
  return options;
}

}  // namespace subquad::app
