// Whole layers of published packages run through our mixers: weights are mapped by rows, then y,
// dx, every weight gradient, the decoded tokens and the states are compared.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "subquad/mixer/all_mixers.h"
#include "subquad/model/engine.h"
#include "tests/golden/golden.h"

namespace subquad {

// Rows of one golden tensor: our next rows are these rows of it, in this order; empty: all.
struct GoldenRows {
  std::string tensor;
  std::vector<std::int64_t> rows{};
};

// Our parameter (its name behind any prefix) is the concatenation of rows of golden tensors.
struct Mapping {
  std::string parameter;
  std::vector<GoldenRows> parts;
};

void load_mapped(const Golden& g, const std::vector<Mapping>& mappings, ParameterStore& store);
// Compares every gradient "d" + tensor at the file's bound.
void expect_mapped_gradients(const Golden& g, const std::vector<Mapping>& mappings,
                             const ParameterStore& store);

// Columns of a conv state file (B,C,4) against channels [first, first + C) of our (B,3,C_all).
void expect_conv_state(const Golden& g, const std::string& result, const Tensor& ours,
                       std::int64_t first);

struct LayerCase {
  std::string kind;
  Json options;
  std::int64_t d_model, heads;
  std::vector<Mapping> mappings;
  std::function<void(const Golden&, const State&, const std::string& suffix)>
      states;  // "_prefill", "_final"
};

// In f64, in f32 through the references, in f32 through the fast kernels.
void compare_layer(const Golden& g, const LayerCase& layer);

}  // namespace subquad
