// printf-style text of any length.
#pragma once

#include <fmt/printf.h>

#include <string>

namespace subquad {

template <class... A>
std::string format(const char* pattern, const A&... values) {
  return fmt::sprintf(pattern, values...);
}

}  // namespace subquad
