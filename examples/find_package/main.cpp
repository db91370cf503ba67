// Uses the installed library: one mLSTM layer over eight positions at once, and again one position
// at a time with an explicit state. Both must agree.
#include <cmath>
#include <cstdio>

#include "subquad/mixer/all_mixers.h"
#include "subquad/model/engine.h"

int main() {
  using namespace subquad;
  ParameterPlan plan;
  const auto mixer = make_mixer("mlstm", {.d_model = 32, .heads = 2, .options = {}}, plan);
  ParameterStore store(plan, DType::f32, 7);
  Engine engine;
  Context cx = engine.context(store);

  const Tensor x = Tensor::zeros({1, 8, 32}, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = std::sin(0.1F * static_cast<float>(i));
  const Var whole = mixer->forward(cx, {x}, {}, nullptr);

  State state(mixer->state_spec(), 1, DType::f32);
  float worst = 0;
  for (std::int64_t t = 0; t < 8; ++t) {
    const Var step = mixer->forward(cx, {x.slice(t * 32, {1, 1, 32})}, {}, &state);
    for (std::int64_t i = 0; i < 32; ++i) {
      worst = std::max(
          worst, std::abs(step.value.data<float>()[i] - whole.value.data<float>()[t * 32 + i]));
    }
  }
  std::printf("mlstm: whole sequence against single steps, largest difference %.1e\n",
              static_cast<double>(worst));
  return worst < 1e-5F ? 0 : 1;
}
