// sLSTM: scalar memories with exponential gating and a block-diagonal recurrence on the output.
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_slstm(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
