// The Mamba-2 layer under any prefix, for its own families and for hybrids.
#pragma once

#include "subquad/pretrained/family.h"

namespace subquad {

struct Mamba2Sizes {
  std::int64_t d_model = 0, expand = 2, heads = 0, head_dim = 64, state = 128, groups = 1, conv = 4;
  bool bias = false, conv_bias = true;
  double norm_eps = 1e-5;
  const char* limits = "time_step_limit";  // the key of the step limits
};

Json mamba2_options(const PublishedConfig& c, const Mamba2Sizes& s);
void add_mamba2_layer(WeightMap& map, std::int64_t i, const std::string& prefix,
                      const Mamba2Sizes& s);

}  // namespace subquad
