// Inside of sizing: one arm with its options, and the two solvers that have files of their own.
#pragma once

#include "subquad/model/sizing.h"

namespace subquad::sizing {

// An arm before its MLP width is known.
struct Draft {
  std::string arm;
  std::vector<std::string> layers;
  Json options;  // by mixer kind
  std::string note{};
};

ModelConfig config_of(const Draft& draft, const SizingRequest& r, std::int64_t mlp_hidden);
SizedArm measure(const Draft& draft, const SizingRequest& r, std::int64_t mlp_hidden);

// Sets the options that make the states of all drafts agree within 5 %.
void match_states(std::vector<Draft>& drafts, const SizingRequest& r);

// MLP widths at which the times per token agree within 3 %.
std::vector<SizedArm> match_times(const std::vector<Draft>& drafts, const SizingRequest& r);

}  // namespace subquad::sizing
