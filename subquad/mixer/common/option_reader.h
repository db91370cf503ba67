// Reads a mixer's options from JSON: typed, with defaults, and no key left unread.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

inline constexpr std::int64_t kLargestOption = 1 << 24;

class OptionReader {
 public:
  OptionReader(const Json& options, std::string mixer)
      : options_(options), mixer_(std::move(mixer)) {
    require(options.is_null() || options.is_object(), ErrorCode::invalid_argument,
            "options of mixer ", mixer_, ": got ", options.type_name(), ", wanted an object");
  }

  const std::string& mixer() const { return mixer_; }

  // Whole numbers are at most kLargestOption: a product of two fits, Shape checks those of three.
  template <class T>
  T get(const char* key, T fallback) {
    known_.emplace_back(key);
    try {
      if constexpr (std::is_same_v<T, std::string>) {
        return options_.get(key, fallback.c_str());
      } else if constexpr (std::is_same_v<T, std::int64_t>) {
        if (options_.contains(key)) return bounded(options_.get(key, fallback));
        return fallback;
      } else {
        return options_.get(key, fallback);
      }
    } catch (Error& e) {
      fail(ErrorCode::invalid_argument, "option ", key, " of mixer ", mixer_, ": ", e.what());
    }
  }

  // One of a few words.
  std::string choice(const char* key, const std::string& fallback,
                     const std::vector<std::string>& words) {
    const std::string value = get(key, fallback);
    for (const std::string& w : words) {
      if (value == w) return value;
    }
    std::string list;
    for (const std::string& w : words) list += (list.empty() ? "" : ", ") + w;
    fail(ErrorCode::invalid_argument, "option ", key, " of mixer ", mixer_, ": got \"", value,
         "\", wanted one of ", list);
  }
  // A number in [low, high].
  double number(const char* key, double fallback, double low, double high) {
    const double value = get(key, fallback);
    require(value >= low && value <= high, ErrorCode::invalid_argument, "option ", key,
            " of mixer ", mixer_, ": got ", value, ", wanted ", low, " to ", high);
    return value;
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
  static std::int64_t bounded(std::int64_t value) {
    require(value >= -kLargestOption && value <= kLargestOption, ErrorCode::invalid_argument,
            "got ", value, ", wanted at most ", kLargestOption);
    return value;
  }

  const Json& options_;
  std::string mixer_;
  std::vector<std::string> known_;
};

// `factor` times `width`, which must be a whole number, of a width at most.
inline std::int64_t exact_product(double factor, std::int64_t width, const char* what) {
  const double product = factor * static_cast<double>(width);
  require(product >= 1 && product <= static_cast<double>(kLargestOption) &&
              product == std::floor(product),
          ErrorCode::invalid_argument, what, ": ", factor, " times ", width, " is ", product,
          ", wanted a whole number from 1 to ", kLargestOption);
  return static_cast<std::int64_t>(product);
}

// Fails unless `value` divides into `parts` without rest.
inline std::int64_t exact_division(std::int64_t value, std::int64_t parts, const char* what) {
  require(parts > 0 && value > 0 && value % parts == 0, ErrorCode::invalid_argument, what, ": ",
          value, " does not divide into ", parts, " equal parts");
  return value / parts;
}

}  // namespace subquad
