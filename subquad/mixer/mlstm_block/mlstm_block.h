// mLSTM inside an up-projection, the layer of the NeurIPS 2024 paper.
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_mlstm_block(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
