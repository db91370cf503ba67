#include "subquad/data/series/synthetic/gaussian_cache.h"

#include <algorithm>
#include <array>
#include <utility>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/data/series/synthetic/kernels.h"

namespace subquad {
namespace {

constexpr const char* kFormat = "subquad gaussian paths";
constexpr std::int64_t kVersion = 1;  // of the numbers: raised when they change
constexpr std::int64_t kMostValues = std::int64_t{1} << 33;

constexpr std::pair<GaussianKind, const char*> kKinds[] = {
    {GaussianKind::kernel_synth, "kernel_synth"}, {GaussianKind::continuous, "continuous"}};

const char* name_of(GaussianKind kind) { return kKinds[static_cast<std::size_t>(kind)].second; }

Json to_json(const GaussianPaths& s) {
  Json j = Json::object();
  j["factors"] = s.factors;
  j["paths"] = s.paths;
  j["length"] = s.length;
  j["seed"] = s.seed;
  return j;
}

void check_version(const std::map<std::string, std::string>& metadata, const std::string& path) {
  const auto version = metadata.find("version"), format = metadata.find("format");
  require(format != metadata.end() && format->second == kFormat && version != metadata.end(),
          ErrorCode::format, path,
          " is no cache of Gaussian paths; make one with subquad series cache");
  require(version->second == std::to_string(kVersion), ErrorCode::format, path, ": version ",
          version->second.substr(0, 20), ", wanted ", kVersion,
          "; make it again with subquad series cache");
}

const std::string& entry(const std::map<std::string, std::string>& metadata, const char* key,
                         const std::string& path) {
  const auto at = metadata.find(key);
  require(at != metadata.end(), ErrorCode::format, path, ": no ", key, " in its metadata");
  return at->second;
}

std::map<std::string, std::string> metadata_of(const GaussianPaths& spec, const std::string& sha) {
  return {{"format", kFormat},
          {"version", std::to_string(kVersion)},
          {"recipe", to_json(spec).dump()},
          {"digest", digest_of(spec)},
          {"sha256", sha}};
}

}  // namespace

void check_gaussian_paths(const GaussianPaths& s) {
  const auto range = [](const char* key, std::int64_t value, std::int64_t low, std::int64_t high) {
    require(value >= low && value <= high, ErrorCode::invalid_argument, "gaussian.", key, " ",
            value, ", wanted ", low, " to ", high);
  };
  range("factors", s.factors, 1, std::int64_t{1} << 24);
  range("paths", s.paths, 1, 1024);
  range("length", s.length, 16, 8192);
  range("seed", s.seed, 0, std::numeric_limits<std::int64_t>::max());
  require(s.factors * s.paths <= kMostValues / s.length, ErrorCode::invalid_argument,
          "gaussian: ", s.factors, " factors of ", s.paths, " paths of ", s.length,
          " steps, wanted at most ", kMostValues, " values");
}

std::string digest_of(const GaussianPaths& spec) {
  return sha256(std::string(kFormat) + " " + std::to_string(kVersion) + " " + to_json(spec).dump());
}

std::vector<float> paths_of_factor(const GaussianPaths& spec, GaussianKind kind,
                                   std::int64_t factor) {
  check_gaussian_paths(spec);
  Draws draws(static_cast<std::uint64_t>(spec.seed), stream_id(name_of(kind)),
              static_cast<std::uint64_t>(factor));
  const std::int64_t n = spec.length;
  std::vector<double> z(static_cast<std::size_t>(n * spec.paths));
  for (;;) {  // as the original: another composite after a failed factorisation
    const CompositeKernel composite = kind == GaussianKind::kernel_synth
                                          ? draw_kernel_synth(draws)
                                          : draw_continuous_kernel(draws, n);
    for (double& x : z) x = draws.normal();
    std::vector<double> k = covariance(composite, n, n);
    try {
      const std::vector<double> paths = gaussian_paths(k, n, z);
      const bool finite = std::all_of(paths.begin(), paths.end(), [](double x) {
        return std::abs(x) < 1e30;  // also false for NaN
      });
      if (finite) return {paths.begin(), paths.end()};
    } catch (const Error& e) {
      if (e.code() != ErrorCode::numeric) throw;
    }
  }
}

GaussianCache::GaussianCache(const std::string& path) : file_(path) {
  const auto& metadata = file_.metadata();
  check_version(metadata, path);
  const Json recipe = Json::parse(entry(metadata, "recipe", path), path + " (metadata)");
  spec_ = {.factors = recipe.at("factors").as_int(),
           .paths = recipe.at("paths").as_int(),
           .length = recipe.at("length").as_int(),
           .seed = recipe.at("seed").as_int()};
  check_gaussian_paths(spec_);
  require(entry(metadata, "digest", path) == digest_of(spec_), ErrorCode::format, path,
          ": its digest is not that of its recipe; make it again with subquad series cache");
  for (const auto& [kind, name] : kKinds) {
    const auto at = file_.entries().find(name);
    require(at != file_.entries().end() && at->second.dtype == DType::f32 &&
                at->second.shape == Shape{spec_.factors, spec_.paths, spec_.length},
            ErrorCode::format, path, ": tensor ", name, " is missing or of another shape");
  }
  const std::string found = sha256(file_.data());
  require(entry(metadata, "sha256", path) == found, ErrorCode::format, path,
          ": damaged: its data have the SHA-256 ", found.substr(0, 16), "..., wanted ",
          entry(metadata, "sha256", path).substr(0, 16), "...");
}

void GaussianCache::read(GaussianKind kind, std::int64_t factor, std::int64_t path,
                         std::int64_t start, std::span<float> to) const {
  file_.read_elements(name_of(kind), (factor * spec_.paths + path) * spec_.length + start, 1, to);
}

std::string build_gaussian_cache(const std::string& path, const GaussianPaths& spec,
                                 ThreadPool& threads,
                                 const std::function<bool(std::int64_t)>& progress) {
  check_gaussian_paths(spec);
  const Shape shape{spec.factors, spec.paths, spec.length};
  const std::vector<TensorHeader> tensors = {{"kernel_synth", DType::f32, shape},
                                             {"continuous", DType::f32, shape}};
  AtomicFile file(path);
  file.write(safetensors_header(tensors, metadata_of(spec, std::string(64, '0'))));
  Sha256 hash;
  const std::int64_t all = 2 * spec.factors, block = 4 * threads.threads();
  for (std::int64_t from = 0; from < all; from += block) {
    std::vector<std::vector<float>> made(static_cast<std::size_t>(std::min(block, all - from)));
    threads.run(static_cast<std::int64_t>(made.size()), [&](std::int64_t i, Scratch&) {
      const std::int64_t at = from + i;
      made[static_cast<std::size_t>(i)] = paths_of_factor(
          spec, kKinds[static_cast<std::size_t>(at / spec.factors)].first, at % spec.factors);
    });
    for (const std::vector<float>& paths : made) {
      const std::span<const std::byte> bytes = std::as_bytes(std::span(paths));
      hash.update(bytes);
      file.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    require(progress(std::min(from + block, all)), ErrorCode::interrupted,
            "stopped; nothing was written to ", path);
  }
  const std::string sha = hash.finish();
  file.overwrite(0, safetensors_header(tensors, metadata_of(spec, sha)));
  file.commit();
  return sha;
}

void GaussianSource::crop(Draws& draws, GaussianKind kind, std::span<double> to) const {
  const std::int64_t factor = draws.between(0, spec.factors - 1),
                     path = draws.between(0, spec.paths - 1),
                     start = draws.between(0, spec.length - static_cast<std::int64_t>(to.size()));
  if (cache) {
    std::vector<float> values(to.size());
    cache->read(kind, factor, path, start, values);
    std::copy(values.begin(), values.end(), to.begin());
    return;
  }
  const std::vector<float> paths = paths_of_factor(spec, kind, factor);
  std::copy_n(paths.begin() + (path * spec.length + start), to.size(), to.begin());
}

}  // namespace subquad
