#include "subquad/train/evaluator.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "subquad/autograd/ops.h"
#include "subquad/base/interrupt.h"

namespace subquad {
namespace {

// (B,count,...): columns from `first` on.
Tensor columns_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  Shape shape = x.shape();
  const std::int64_t B = shape[0], T = shape[1],
                     width = x.bytes() / std::max<std::int64_t>(B * T, 1);
  shape.dims[1] = count;
  const Tensor out(shape, x.dtype());
  for (std::int64_t b = 0; b < B; ++b)
    std::memcpy(static_cast<std::byte*>(out.raw()) + b * count * width,
                static_cast<const std::byte*>(x.raw()) + (b * T + first) * width,
                static_cast<std::size_t>(count * width));
  return out;
}

Tensor as_f32(const Tensor& x) {
  if (x.dtype() == DType::f32) return x.clone();
  const Tensor out(x.shape(), DType::f32);
  std::transform(x.host<double>().begin(), x.host<double>().end(), out.host<float>().begin(),
                 [](double v) { return static_cast<float>(v); });
  return out;
}

// Share of scored outputs of patches that agree within 1e-3 of their unit, one token at a time.
std::pair<double, double> recurrent_patches(Context& cx, const Model& model, const Batch& batch,
                                            const Tensor& chunkwise) {
  const std::int64_t B = batch.inputs.shape()[0], T = batch.inputs.shape()[1],
                     P = batch.targets.shape()[2], Q = chunkwise.shape()[2] / P;
  ModelState state = model.new_state(B, cx.dtype());
  double same = 0, compared = 0;
  for (std::int64_t t = 0; t < T; ++t) {
    const Tensor out = as_f32(model.logits(cx, columns_of(batch.inputs, t, 1), {}, &state).value);
    for (std::int64_t i = 0; i < B * Q * P; ++i) {
      const std::int64_t b = i / (Q * P), j = i % (Q * P);
      if (std::isnan(batch.targets.data<float>()[(b * T + t) * P + j % P])) continue;
      const float a = out.data<float>()[i], c = chunkwise.data<float>()[(b * T + t) * Q * P + j];
      compared += 1;
      same += std::abs(a - c) <= 1e-3F * std::max(1.0F, std::abs(c)) ? 1 : 0;
    }
  }
  return {same, compared};
}

RowScores chunkwise(Context& cx, const Model& model, const Batch& batch) {
  const Var h = model.features(cx, batch.inputs, {}, nullptr);
  return score_rows(cx, h.value, model.head_weight(), {},
                    batch.targets.reshaped({batch.targets.numel()}), model.logit_soft_cap());
}

// arg-max at every scored position, one position at a time through the state.
std::vector<std::int32_t> recurrent(Context& cx, const Model& model, const Batch& batch) {
  const std::int64_t B = batch.inputs.shape()[0], T = batch.inputs.shape()[1];
  ModelState state = model.new_state(B, cx.dtype());
  std::vector<std::int32_t> predicted(static_cast<std::size_t>(B * T), -1);
  const Tensor ids({B, 1}, DType::i32), targets({B}, DType::i32);
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t b = 0; b < B; ++b) {
      ids.data<std::int32_t>()[b] = batch.inputs.data<std::int32_t>()[b * T + t];
      targets.data<std::int32_t>()[b] = batch.targets.data<std::int32_t>()[b * T + t];
    }
    const Var h = model.features(cx, ids, {}, &state);
    const RowScores s =
        score_rows(cx, h.value, model.head_weight(), {}, targets, model.logit_soft_cap());
    for (std::int64_t b = 0; b < B; ++b)
      predicted[static_cast<std::size_t>(b * T + t)] = s.predicted[static_cast<std::size_t>(b)];
  }
  return predicted;
}

// Mean over the scored positions, nats; of patches the primary metric.
double mean_loss(const std::vector<Scored>& scored, const std::vector<Metric>& metrics) {
  if (!scored.empty() && scored.front().batch.targets.dtype() != DType::i32)
    return metrics.empty() ? 0 : metrics.front().value;
  double sum = 0, count = 0;
  for (const Scored& s : scored) {
    const auto targets = s.batch.targets.host<std::int32_t>();
    for (std::size_t j = 0; j < targets.size(); ++j) {
      if (targets[j] < 0) continue;
      sum += static_cast<double>(s.loss[j]);
      count += 1;
    }
  }
  return sum / std::max(count, 1.0);
}

Batch rows(const Batch& batch, std::int64_t count) {
  return {batch.inputs.rows(0, count), batch.targets.rows(0, count)};
}

}  // namespace

std::vector<LengthResult> evaluate(Engine& engine, const Model& model, ParameterStore& store,
                                   const Task& task, const EvaluationSetup& setup) {
  Context cx = engine.context(store);
  std::vector<LengthResult> results;
  for (const std::int64_t length : setup.lengths.empty() ? task.spec().lengths : setup.lengths) {
    std::vector<Scored> scored;
    std::int64_t budget = setup.recurrent ? setup.recurrent_positions : 0;
    double same = 0, compared = 0;
    std::int64_t first_difference = -1;
    for (std::int64_t i = 0; i < task.eval_batches(setup.split, length); ++i) {
      if (setup.interruptible && interrupted())
        fail(ErrorCode::interrupted, "interrupted during evaluation; the same command continues");
      Scored s{task.eval_batch(setup.split, length, i), {}, {}};
      const bool patches = model.config().forecasts();
      if (patches) {
        s.quantiles = as_f32(model.logits(cx, s.batch.inputs, {}, nullptr).value);
      } else {
        RowScores r = chunkwise(cx, model, s.batch);
        s.loss = std::move(r.loss);
        s.predicted = std::move(r.predicted);
      }
      const std::int64_t positions = s.batch.inputs.shape()[1];
      const std::int64_t count =
          std::min(s.batch.inputs.shape()[0], (budget + positions - 1) / positions);
      if (budget > 0 && count > 0 && patches) {
        const auto [agreed, all] =
            recurrent_patches(cx, model, rows(s.batch, count), s.quantiles.rows(0, count));
        same += agreed;
        compared += all;
        budget -= count * positions;
      } else if (budget > 0 && count > 0) {
        const std::vector<std::int32_t> stepwise = recurrent(cx, model, rows(s.batch, count));
        for (std::size_t j = 0; j < stepwise.size(); ++j) {
          if (s.batch.targets.data<std::int32_t>()[j] < 0) continue;
          compared += 1;
          same += stepwise[j] == s.predicted[j] ? 1 : 0;
          const std::int64_t position = static_cast<std::int64_t>(j) % positions;
          if (stepwise[j] != s.predicted[j] &&
              (first_difference < 0 || position < first_difference))
            first_difference = position;
        }
        budget -= count * positions;
      }
      scored.push_back(std::move(s));
    }
    LengthResult result;
    result.length = length;
    result.metrics = task.score(length, scored);
    result.answers = task.answers(setup.split, scored);
    result.loss = mean_loss(scored, result.metrics);
    result.agreement = compared > 0 ? same / compared : -1;
    result.first_difference = first_difference;
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace subquad
