#include "subquad/pretrained/pretrained.h"

#include <algorithm>
#include <filesystem>

#include "subquad/pretrained/stored_weights.h"

namespace subquad {
namespace {

// An aliased tensor that is in the files twice must be the same twice.
void check_aliases(const WeightFiles& files, const Published& p) {
  constexpr std::int64_t kBlock = 1 << 16;
  for (const auto& [kept, other] : p.aliases) {
    if (!files.contains(kept) || !files.contains(other)) continue;
    const Shape shape = files.entry(kept).shape;
    bool same = shape == files.entry(other).shape;
    std::vector<double> a, b;
    for (std::int64_t first = 0; same && first < shape.numel(); first += kBlock) {
      a.resize(static_cast<std::size_t>(std::min(kBlock, shape.numel() - first)));
      b.resize(a.size());
      files.read_elements<double>(kept, first, 1, a);
      files.read_elements<double>(other, first, 1, b);
      same = a == b;
    }
    require(same, ErrorCode::format, files.file_of(other), ": tensor ", other, " differs from ",
            kept, ", but the configuration says that they are one");
  }
}

std::vector<std::int32_t> special_ids(const std::string& folder, const PublishedConfig& config,
                                      const char* key, std::int64_t vocabulary) {
  std::string source = (std::filesystem::path(folder) / "generation_config.json").string();
  std::error_code error;
  Json value;
  if (std::filesystem::exists(source, error)) {
    const Json generation = read_published_json(source);
    if (const Json* ids = generation.find(key)) value = *ids;
  }
  if (const Json* ids = config.find(key); value.is_null() && ids) {
    value = *ids;
    source = config.source();
  }
  const Json list = value.is_null()    ? Json::array()
                    : value.is_array() ? value
                                       : Json(Json::Array{value});
  std::vector<std::int32_t> out;
  for (const Json& id : list.as_array()) {
    require(id.is_int() && id.as_int() >= 0, ErrorCode::format, source, ": ", key, ": got ",
            value.dump(), ", wanted an id or a list of ids");
    if (id.as_int() < vocabulary) out.push_back(static_cast<std::int32_t>(id.as_int()));
  }
  return out;
}

}  // namespace

SpecialIds read_special_ids(const std::string& folder, std::int64_t vocabulary) {
  const PublishedConfig config = PublishedConfig::read(folder);
  const auto begin = special_ids(folder, config, "bos_token_id", vocabulary);
  return {.begin = begin.empty() ? -1 : begin.front(),
          .ends = special_ids(folder, config, "eos_token_id", vocabulary)};
}

std::unique_ptr<Pretrained> open_pretrained(const std::string& folder) {
  const PublishedConfig config = PublishedConfig::read(folder);
  // What our layers refuse is the file's fault here, not the caller's.
  const auto blame_file = [&](auto&& build) {
    try {
      return build();
    } catch (const Error& e) {
      if (e.code() != ErrorCode::invalid_argument) throw;
      fail(ErrorCode::format, config.source(), ": ", e.what());
    }
  };
  auto p = std::make_unique<Pretrained>();
  p->family = &family_of(config);
  p->files = std::make_unique<WeightFiles>(folder);
  p->published = blame_file([&] { return p->family->describe(config, *p->files); });
  std::vector<std::string> spare = p->published.spare;
  for (const auto& [kept, other] : p->published.aliases) spare.push_back(other);
  check_weights(*p->files, p->published.weights, spare, p->family->name, p->published.packed);
  check_aliases(*p->files, p->published);
  p->model = blame_file([&] { return std::make_unique<Model>(p->published.config, p->plan); });
  check_complete(p->published.weights, p->plan);
  p->special = read_special_ids(folder, p->published.config.vocabulary);
  return p;
}

ParameterStore Pretrained::weights() const {
  return stored_weights(*files, published.weights, plan);
}

void Pretrained::load(const ParameterStore& store) const {
  load_weights(*files, published.weights, store);
}

}  // namespace subquad
