#include "subquad/pretrained/config.h"

#include <filesystem>
#include <limits>

#include "subquad/base/file.h"
#include "subquad/io/yaml.h"

namespace subquad {
namespace {

constexpr std::int64_t kLargestSize = 1 << 24, kMostLayers = 4096;

}  // namespace

PublishedConfig PublishedConfig::read(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  require(fs::is_directory(folder, error), ErrorCode::io, folder,
          ": no such folder; wanted a model's folder with config.json and its weights");
  for (const char* name : {"config.json", "config.yaml"}) {
    const std::string path = (fs::path(folder) / name).string();
    if (!fs::exists(path, error)) continue;
    Json json = path.ends_with(".json") ? read_published_json(path) : read_yaml(path);
    require(json.is_object(), ErrorCode::format, path, ": got ", json.type_name(),
            ", wanted an object");
    return {std::move(json), path};
  }
  fail(ErrorCode::io, folder,
       ": holds neither config.json nor config.yaml; wanted a model's folder");
}

const Json* PublishedConfig::find(std::string_view key) const {
  const Json* value = json_.find(key);
  return value && !value->is_null() ? value : nullptr;
}

PublishedConfig PublishedConfig::part(const std::string& key) const {
  const Json* value = find(key);
  require(!value || value->is_object(), ErrorCode::format, source_, ": key \"", key, "\": got ",
          value ? value->type_name() : "", ", wanted an object");
  return {value ? *value : Json::object(), source_ + " [" + key + "]"};
}

template <class Read>
auto PublishedConfig::typed(const std::string& key, Read&& read) const {
  const Json* value = find(key);
  require(value != nullptr, ErrorCode::format, source_, ": key \"", key, "\" is missing");
  try {
    return read(*value);
  } catch (Error& e) {
    fail(ErrorCode::format, source_, ": key \"", key, "\": ", e.what());
  }
}

std::int64_t PublishedConfig::size(const std::string& key) const {
  const auto value = typed(key, [](const Json& v) { return v.as_int(); });
  require(value >= 1 && value <= kLargestSize, ErrorCode::format, source_, ": key \"", key,
          "\": got ", value, ", wanted 1 to ", kLargestSize);
  return value;
}

std::int64_t PublishedConfig::size(const std::string& key, std::int64_t fallback) const {
  return contains(key) ? size(key) : fallback;
}

std::int64_t PublishedConfig::count(const std::string& key, std::int64_t fallback) const {
  if (!contains(key)) return fallback;
  return typed(key, [](const Json& v) { return v.as_int(); }) == 0 ? 0 : size(key);
}

std::int64_t PublishedConfig::layers(const std::string& key) const {
  const std::int64_t n = size(key);
  require(n <= kMostLayers, ErrorCode::format, source_, ": key \"", key, "\": got ", n,
          ", wanted 1 to ", kMostLayers);
  return n;
}

double PublishedConfig::number(const std::string& key, double fallback) const {
  return contains(key) ? typed(key, published_number) : fallback;
}

bool PublishedConfig::flag(const std::string& key, bool fallback) const {
  return contains(key) ? typed(key, [](const Json& v) { return v.as_bool(); }) : fallback;
}

std::string PublishedConfig::word(const std::string& key, const std::string& fallback) const {
  return contains(key) ? typed(key, [](const Json& v) { return v.as_string(); }) : fallback;
}

std::vector<std::int64_t> PublishedConfig::integers(const std::string& key) const {
  return typed(key, [](const Json& list) {
    std::vector<std::int64_t> out;
    for (const Json& v : list.as_array()) out.push_back(v.as_int());
    return out;
  });
}

std::vector<double> PublishedConfig::numbers(const std::string& key) const {
  return typed(key, [](const Json& list) {
    std::vector<double> out;
    for (const Json& v : list.as_array()) out.push_back(published_number(v));
    return out;
  });
}

void PublishedConfig::only(const std::string& key, const Json& supported) const {
  const Json* value = find(key);
  if (!value) return;
  const bool same = value->is_number() && supported.is_number()
                        ? value->as_double() == supported.as_double()
                        : *value == supported;
  check(same, key, " = ", value->dump(), " is not supported, wanted ", supported.dump());
}

void PublishedConfig::one_of(const std::string& key,
                             std::initializer_list<std::string_view> words) const {
  if (!contains(key)) return;
  const std::string got = word(key, "");
  std::string list;
  for (const std::string_view w : words) {
    if (got == w) return;
    list += (list.empty() ? "" : " or ") + std::string(w);
  }
  check(false, key, " = \"", got, "\" is not supported, wanted ", list);
}

std::int64_t PublishedConfig::divided(std::int64_t value, std::int64_t parts,
                                      const std::string& what) const {
  require(parts > 0 && value % parts == 0, ErrorCode::format, source_, ": ", what, ": ", value,
          " does not divide into ", parts, " equal parts");
  return value / parts;
}

std::int64_t PublishedConfig::cut(double product, const std::string& what) const {
  require(product >= 1 && product <= kLargestSize, ErrorCode::format, source_, ": ", what, ": got ",
          product, ", wanted 1 to ", kLargestSize);
  return static_cast<std::int64_t>(product);
}

Json read_published_json(const std::string& path) {
  constexpr std::size_t kLargestFile = 16 << 20;
  constexpr JsonLimits kLimits{.depth = 64, .values = 1 << 20};
  return Json::parse(read_regular_file(path, kLargestFile), path, kLimits);
}

double published_number(const Json& value) {
  if (value.is_object()) {
    const std::string word = value.at("__float__").as_string();
    constexpr double kLargest = std::numeric_limits<double>::max();
    if (word == "Infinity") return kLargest;
    if (word == "-Infinity") return -kLargest;
    fail(ErrorCode::format, "got {\"__float__\": \"", word, "\"}, wanted a number or Infinity");
  }
  return value.as_double();
}

}  // namespace subquad
