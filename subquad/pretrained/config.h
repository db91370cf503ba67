// The configuration file of a published model: typed reading, with every error naming the file and
// the key. A null counts as absent. Unknown keys are ignored, as everywhere where these files are
// read; what changes the arithmetic and is not supported is refused by name.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

class PublishedConfig {
 public:
  // config.json of the folder, or else its config.yaml.
  static PublishedConfig read(const std::string& folder);
  PublishedConfig(Json json, std::string source)
      : json_(std::move(json)), source_(std::move(source)) {}

  const std::string& source() const { return source_; }
  const Json& json() const { return json_; }
  // The value; null pointer if it is absent or null.
  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  // An object inside this one, with its errors naming both keys. Absent: an empty one.
  PublishedConfig part(const std::string& key) const;

  // Whole numbers from 1 to 2^24: widths and counts. Without a default the key must be there.
  std::int64_t size(const std::string& key) const;
  std::int64_t size(const std::string& key, std::int64_t fallback) const;
  std::int64_t count(const std::string& key, std::int64_t fallback) const;  // from 0
  std::int64_t layers(const std::string& key) const;                        // 1 to 4096
  // Infinity may be written as the literal, or as {"__float__": "Infinity"}: the largest double.
  double number(const std::string& key, double fallback) const;
  bool flag(const std::string& key, bool fallback) const;
  std::string word(const std::string& key, const std::string& fallback) const;
  // Lists, which must be there.
  std::vector<std::int64_t> integers(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;

  // Fails unless the value is the one that is supported (or absent): a switch that we do not have.
  void only(const std::string& key, const Json& supported) const;
  // Fails unless the word is one of these (or absent).
  void one_of(const std::string& key, std::initializer_list<std::string_view> words) const;
  // `value` / `parts` without rest, or an error about `what`.
  std::int64_t divided(std::int64_t value, std::int64_t parts, const std::string& what) const;
  // A size that is a product with a number of the file, its fraction cut off.
  std::int64_t cut(double product, const std::string& what) const;

  // For errors of the caller: "FOLDER/config.json: " in front.
  template <class... Parts>
  void check(Condition condition, const Parts&... parts) const {
    require(condition, ErrorCode::unsupported, source_, ": ", parts...);
  }

 private:
  template <class Read>
  auto typed(const std::string& key, Read&& read) const;

  Json json_;
  std::string source_;
};

// The number a configuration holds, Infinity in either spelling included.
double published_number(const Json& value);

// A regular JSON file of at most 16 MiB and 2^20 values, so that no file decides how much memory is
// taken.
Json read_published_json(const std::string& path);

}  // namespace subquad
