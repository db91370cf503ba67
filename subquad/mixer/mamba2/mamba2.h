// Mamba-2: state-space duality layer, with the negative-eigenvalue variant "mamba2[-1,1]".
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_mamba2(const MixerSetup& setup, ParameterPlan& plan);
std::unique_ptr<Mixer> make_mamba2_negative(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
