// Reads a mixer's options from JSON: typed, with defaults, and no key left unread.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

class OptionReader {
 public:
  OptionReader(const Json& options, std::string mixer)
      : options_(options), mixer_(std::move(mixer)) {
    require(options.is_null() || options.is_object(), ErrorCode::invalid_argument,
            "options of mixer ", mixer_, ": got ", options.type_name(), ", wanted an object");
  }

  template <class T>
  T get(const char* key, T fallback) {
    known_.emplace_back(key);
    try {
      if constexpr (std::is_same_v<T, std::string>) {
        return options_.get(key, fallback.c_str());
      } else {
        return options_.get(key, fallback);
      }
    } catch (Error& e) {
      fail(ErrorCode::invalid_argument, "option ", key, " of mixer ", mixer_, ": ", e.what());
    }
  }

  // Call when every key has been asked for.
  void finish() const {
    if (options_.is_null()) return;
    for (const auto& [key, value] : options_.as_object()) {
      bool found = false;
      for (const std::string& k : known_) found = found || k == key;
      if (found) continue;
      const std::string near = nearest_key(key, known_);
      fail(ErrorCode::invalid_argument, "mixer ", mixer_, " has no option \"", key, "\"",
           near.empty() ? "" : "; did you mean \"" + near + "\"?");
    }
  }

 private:
  const Json& options_;
  std::string mixer_;
  std::vector<std::string> known_;
};

// Fails unless `value` divides into `parts` without rest.
inline std::int64_t exact_division(std::int64_t value, std::int64_t parts, const char* what) {
  require(parts > 0 && value > 0 && value % parts == 0, ErrorCode::invalid_argument, what, ": ",
          value, " does not divide into ", parts, " equal parts");
  return value / parts;
}

}  // namespace subquad
