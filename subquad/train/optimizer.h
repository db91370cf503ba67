// AdamW over flat buffers, global-norm clipping, learning-rate schedules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "subquad/autograd/params.h"
#include "subquad/backend/kernel_table.h"
#include "subquad/io/json.h"

namespace subquad {

struct TrainConfig {
  std::int64_t tokens = 100000;
  double learning_rate = 2e-3;
  std::int64_t warmup_steps = 100;
  std::string schedule = "cosine";  // cosine linear constant wsd wsd_cosine wsd_sqrt
  double final_fraction = 0.05;     // of the peak, at the end
  double decay_fraction = 0.2;      // of the steps, for wsd
  double weight_decay = 0.1;
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-8;
  double clip = 1.0;              // 0 = off
  std::string precision = "f32";  // of the factors of products with weights; or bf16
  std::int64_t accumulate = 1;
  double checkpoint_seconds = 60;     // wall time between checkpoints
  std::int64_t checkpoint_steps = 0;  // > 0: every so many steps instead (tests)

  Json to_json() const;
  static TrainConfig from_json(const Json& json);  // unknown keys and absurd values are errors
};

// The rate of step t of `steps` (t = 0 is the first). Warm-up is linear and reaches the peak at t =
// warmup; it starts from 0, for wsd from final_fraction. Then down to final_fraction: at once
// (cosine, linear), or flat with a decay over the last decay_fraction (wsd*). Flat after the end.
double learning_rate_at(const TrainConfig& config, std::int64_t step, std::int64_t steps);

// p <- p (1 - lr wd); m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g²; p <- p - lr m̂ / (sqrt(v̂) + eps).
// Weight decay only where the plan says so. `factor` multiplies the gradient first (clipping).
class AdamW {
 public:
  AdamW(const ParameterPlan& plan, DType dtype);
  void step(const KernelTable& kernels, ThreadPool& threads, ParameterStore& store,
            const TrainConfig& config, double learning_rate, double factor);

  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  const Tensor& first_moment() const { return m_; }
  const Tensor& second_moment() const { return v_; }

 private:
  const ParameterPlan* plan_;
  Tensor m_, v_;
  std::int64_t steps_ = 0;
};

// Euclidean norm of a flat buffer in f64: fixed blocks, summed in order.
double flat_norm(const Tensor& flat);
// min(1, clip / (norm + 1e-6)), 1 if clip is 0.
double clip_factor(double norm, double clip);

}  // namespace subquad
