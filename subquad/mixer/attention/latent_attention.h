// Multi-head latent attention: one small cached vector per position from which every head reads.
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_latent_attention(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
