#include "subquad/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/backend/optimizer.h"

namespace subquad {

Json TrainConfig::to_json() const {
  Json j = Json::object();
  j["tokens"] = tokens;
  j["learning_rate"] = learning_rate;
  j["warmup_steps"] = warmup_steps;
  j["schedule"] = schedule;
  j["final_fraction"] = final_fraction;
  j["decay_fraction"] = decay_fraction;
  j["weight_decay"] = weight_decay;
  j["beta1"] = beta1;
  j["beta2"] = beta2;
  j["eps"] = eps;
  j["clip"] = clip;
  j["precision"] = precision;
  j["accumulate"] = accumulate;
  j["checkpoint_seconds"] = checkpoint_seconds;
  j["checkpoint_steps"] = checkpoint_steps;
  return j;
}

TrainConfig TrainConfig::from_json(const Json& json) {
  TrainConfig c;
  std::vector<std::string> known;
  const Json defaults = c.to_json();
  for (const auto& [key, value] : defaults.as_object()) known.push_back(key);
  for (const auto& [key, value] : json.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    fail(ErrorCode::invalid_argument, "unknown training key \"", key, "\"",
         near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
  const auto number = [&](const char* key, double& to, double lo, double hi) {
    to = json.get(key, to);
    require(to >= lo && to <= hi, ErrorCode::invalid_argument, "train.", key, " = ", to,
            ", wanted ", lo, " to ", hi);
  };
  const auto integer = [&](const char* key, std::int64_t& to, std::int64_t lo, std::int64_t hi) {
    to = json.get(key, to);
    require(to >= lo && to <= hi, ErrorCode::invalid_argument, "train.", key, " = ", to,
            ", wanted ", lo, " to ", hi);
  };
  integer("tokens", c.tokens, 1, std::int64_t{1} << 50);
  number("learning_rate", c.learning_rate, 0, 10);
  integer("warmup_steps", c.warmup_steps, 0, std::int64_t{1} << 40);
  c.schedule = json.get("schedule", c.schedule.c_str());
  const std::vector<std::string> schedules = {"cosine", "linear",     "constant",
                                              "wsd",    "wsd_cosine", "wsd_sqrt"};
  require(std::find(schedules.begin(), schedules.end(), c.schedule) != schedules.end(),
          ErrorCode::invalid_argument, "train.schedule = \"", c.schedule,
          "\", wanted cosine, linear, constant, wsd, wsd_cosine or wsd_sqrt");
  number("final_fraction", c.final_fraction, 0, 1);
  number("decay_fraction", c.decay_fraction, 0, 1);
  number("weight_decay", c.weight_decay, 0, 10);
  number("beta1", c.beta1, 0, 0.999999);
  number("beta2", c.beta2, 0, 0.999999);
  number("eps", c.eps, 1e-20, 1);
  number("clip", c.clip, 0, 1e12);
  c.precision = json.get("precision", c.precision.c_str());
  precision_named(c.precision);
  integer("accumulate", c.accumulate, 1, 1 << 20);
  number("checkpoint_seconds", c.checkpoint_seconds, 0, 1e9);
  integer("checkpoint_steps", c.checkpoint_steps, 0, std::int64_t{1} << 40);
  return c;
}

double learning_rate_at(const TrainConfig& c, std::int64_t step, std::int64_t steps) {
  const auto t = static_cast<double>(step), total = static_cast<double>(steps);
  const auto warmup =
      static_cast<double>(std::min(c.warmup_steps, std::max<std::int64_t>(steps / 2, 1)));
  const bool wsd = c.schedule.starts_with("wsd");
  const double low = c.final_fraction;
  if (t < warmup) {
    const double start = wsd ? low : 0.0;
    return c.learning_rate * (start + (1 - start) * t / warmup);
  }
  if (c.schedule == "constant") return c.learning_rate;
  const double begin = wsd ? total * (1 - c.decay_fraction) : warmup;
  const double y = std::clamp((t - begin) / std::max(1.0, total - begin), 0.0, 1.0);
  double shape = 1 - y;  // linear, wsd
  if (c.schedule == "cosine" || c.schedule == "wsd_cosine")
    shape = 0.5 * (1 + std::cos(std::numbers::pi * y));
  if (c.schedule == "wsd_sqrt") shape = 1 - std::sqrt(y);
  return c.learning_rate * (low + (1 - low) * shape);
}

AdamW::AdamW(const ParameterPlan& plan, DType dtype)
    : plan_(&plan),
      m_(Tensor::zeros({plan.flat_size()}, dtype)),
      v_(Tensor::zeros({plan.flat_size()}, dtype)) {}

void AdamW::step(const KernelTable& kernels, ThreadPool& threads, ParameterStore& store,
                 const TrainConfig& c, double learning_rate, double factor) {
  ++steps_;
  const double correct1 = 1 - std::pow(c.beta1, static_cast<double>(steps_));
  const double correct2 = 1 - std::pow(c.beta2, static_cast<double>(steps_));
  const auto& all = plan_->all();
  with_scalar(store.dtype(), [&]<class T>() {
    // Neighbours of one decay group are one call: the gaps between them hold zeros and stay so.
    for (std::size_t i = 0; i < all.size();) {
      std::size_t end = i + 1;
      while (end < all.size() && all[end].decay == all[i].decay) ++end;
      const std::int64_t first = all[i].offset,
                         count = all[end - 1].offset + all[end - 1].shape.numel() - first;
      const auto part = [&](const Tensor& t) { return t.slice(first, {count}); };
      kernels.run(AdamWUpdate<T>{.g = part(store.flat_grads()).template view<const T, 1>(),
                                 .beta1 = c.beta1,
                                 .beta2 = c.beta2,
                                 .eps = c.eps,
                                 .factor = factor,
                                 .rate = learning_rate / correct1,
                                 .root = 1 / std::sqrt(correct2),
                                 .keep = all[i].decay ? 1 - learning_rate * c.weight_decay : 1.0,
                                 .p = part(store.flat_values()).template view<T, 1>(),
                                 .m = part(m_).template view<T, 1>(),
                                 .v = part(v_).template view<T, 1>()},
                  threads);
      i = end;
    }
  });
}

double flat_norm(const Tensor& flat) {
  double total = 0;
  with_scalar(flat.dtype(), [&]<class T>() {
    constexpr std::int64_t kBlock = 4096;
    const T* x = flat.data<T>();
    for (std::int64_t first = 0; first < flat.numel(); first += kBlock) {
      double sum[4] = {0, 0, 0, 0};
      const std::int64_t end = std::min(first + kBlock, flat.numel());
      std::int64_t i = first;
      for (; i + 4 <= end; i += 4) {
        for (int j = 0; j < 4; ++j)
          sum[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
      }
      for (; i < end; ++i) sum[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
  });
  return std::sqrt(total);
}

double clip_factor(double norm, double clip) {
  return clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
}

}  // namespace subquad
