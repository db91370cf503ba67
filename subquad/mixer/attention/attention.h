// Causal softmax attention: the quadratic baseline.
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_attention(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
