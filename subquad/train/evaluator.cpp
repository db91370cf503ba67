#include "subquad/train/evaluator.h"

#include <algorithm>

#include "subquad/autograd/ops.h"
#include "subquad/base/interrupt.h"

namespace subquad {
namespace {

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

double mean_loss(const std::vector<Scored>& scored) {
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
      RowScores r = chunkwise(cx, model, s.batch);
      s.loss = std::move(r.loss);
      s.predicted = std::move(r.predicted);
      const std::int64_t columns = s.batch.inputs.shape()[1];
      const std::int64_t count =
          std::min(s.batch.inputs.shape()[0], (budget + columns - 1) / columns);
      if (budget > 0 && count > 0) {
        const std::vector<std::int32_t> stepwise = recurrent(cx, model, rows(s.batch, count));
        for (std::size_t j = 0; j < stepwise.size(); ++j) {
          if (s.batch.targets.data<std::int32_t>()[j] < 0) continue;
          compared += 1;
          same += stepwise[j] == s.predicted[j] ? 1 : 0;
          const std::int64_t position = static_cast<std::int64_t>(j) % columns;
          if (stepwise[j] != s.predicted[j] &&
              (first_difference < 0 || position < first_difference))
            first_difference = position;
        }
        budget -= count * columns;
      }
      scored.push_back(std::move(s));
    }
    LengthResult result;
    result.length = length;
    result.metrics = task.score(length, scored);
    result.loss = mean_loss(scored);
    result.agreement = compared > 0 ? same / compared : -1;
    result.first_difference = first_difference;
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace subquad
