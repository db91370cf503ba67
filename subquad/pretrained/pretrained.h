// A published model, opened from its folder: recognised, checked against its files, and described
// as a Model of ours. Weights are read on demand.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "subquad/pretrained/family.h"

namespace subquad {

// The special ids of a folder that are below `vocabulary`. Errors: format, naming file and key.
SpecialIds read_special_ids(const std::string& folder, std::int64_t vocabulary);

struct Pretrained {
  const Family* family = nullptr;
  Published published;
  ParameterPlan plan;
  std::unique_ptr<Model> model;
  std::unique_ptr<WeightFiles> files;
  SpecialIds special;

  // A read-only store of `plan`, its matrices as the files hold them (stored_weights.h): what
  // running a model wants. The files must not change while it lives.
  ParameterStore weights() const;
  // Fills a store of `plan`, f32 or f64, from bf16, f16, f32 or f64 files: a copy to be trained.
  // Errors: unsupported if the files hold int8 or int4.
  void load(const ParameterStore& store) const;
};

// Errors name the file, and the tensor or the key. Nothing larger than the files' headers is
// allocated before everything is checked.
std::unique_ptr<Pretrained> open_pretrained(const std::string& folder);

}  // namespace subquad
