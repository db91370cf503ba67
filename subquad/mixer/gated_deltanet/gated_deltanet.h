// Gated DeltaNet: the gated delta rule, write range (0,1), or (0,2) in "gated_deltanet[-1,1]"; with a
// decay for every key channel in "kda".
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_gated_deltanet(const MixerSetup& setup, ParameterPlan& plan);
std::unique_ptr<Mixer> make_gated_deltanet_negative(const MixerSetup& setup, ParameterPlan& plan);
std::unique_ptr<Mixer> make_kda(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
