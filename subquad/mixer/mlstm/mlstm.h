// mLSTM: matrix memory with exponential input gate, sigmoid forget gate, stabiliser and normaliser.
#pragma once

#include <memory>

#include "subquad/mixer/all_mixers.h"

namespace subquad {

std::unique_ptr<Mixer> make_mlstm(const MixerSetup& setup, ParameterPlan& plan);

}  // namespace subquad
