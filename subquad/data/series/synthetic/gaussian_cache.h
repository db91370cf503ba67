// Paths of Gaussian processes: a finite set that is a pure function of GaussianPaths, computed on
// demand or read from a file made once.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "subquad/base/thread_pool.h"
#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/draws.h"
#include "subquad/io/safetensors.h"

namespace subquad {

enum class GaussianKind : std::uint8_t { kernel_synth, continuous };

// The paths of one covariance matrix, [path][step]. Errors: invalid_argument for numbers out of range.
// Cost: length^3 / 3 multiply-adds in f64, 16 length^2 bytes.
std::vector<float> paths_of_factor(const GaussianPaths& spec, GaussianKind kind,
                                   std::int64_t factor);
// Errors: invalid_argument, with the key and its range.
void check_gaussian_paths(const GaussianPaths& spec);
// SHA-256 of the set's numbers and the version of their making: equal digests, equal paths.
std::string digest_of(const GaussianPaths& spec);

// A safetensors file: `kernel_synth` and `continuous`, F32 (factors, paths, length); the metadata
// hold format, version, recipe (the numbers of GaussianPaths), digest (of the recipe), sha256 (of
// the data section).
class GaussianCache {
 public:
  // Maps and checks it; reads it once for the SHA-256.
  // Errors: io; format, if it is no such file, of another version, damaged or cut.
  explicit GaussianCache(const std::string& path);

  const GaussianPaths& spec() const { return spec_; }
  // Copies steps [start, start + to.size()).
  void read(GaussianKind kind, std::int64_t factor, std::int64_t path, std::int64_t start,
            std::span<float> to) const;

 private:
  Safetensors file_;
  GaussianPaths spec_;
};

// Computes all paths and writes them atomically; `progress` gets the number of matrices done and may
// return false to stop (Error interrupted; nothing is left behind).
// Returns the SHA-256 of the data. Memory: 16 length^2 bytes a thread and the paths of a block.
std::string build_gaussian_cache(const std::string& path, const GaussianPaths& spec,
                                 ThreadPool& threads,
                                 const std::function<bool(std::int64_t)>& progress);

// What families draw from.
struct GaussianSource {
  const GaussianPaths& spec;
  const GaussianCache* cache;  // null: compute

  // A crop of a random path of a random matrix.
  void crop(Draws& draws, GaussianKind kind, std::span<double> to) const;
};

}  // namespace subquad
