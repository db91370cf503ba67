#include "subquad/runtime/sampler.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/error.h"

namespace subquad {
namespace {

void check(const char* name, double value, double low, double high) {
  require(value >= low && value <= high, ErrorCode::invalid_argument, "sampler ", name, ": got ",
          value, ", wanted ", low, " to ", high);
}

bool more_likely(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options)
    : options_(options), rng_{options.seed, stream_id("sampler")} {
  check("temperature", options.temperature, 0, 1000);
  check("top_k", static_cast<double>(options.top_k), 0, 1 << 30);
  check("top_p", options.top_p, 0, 1);
  check("min_p", options.min_p, 0, 1);
  check("repetition_penalty", options.repetition_penalty, 1e-3, 1e3);
}

void Sampler::read(std::span<const std::int32_t> ids) {
  position_ += ids.size();
  for (const std::int32_t id : ids) {
    require(id >= 0, ErrorCode::invalid_argument, "sampler got the id ", id, ", wanted 0 or more");
    const auto at = static_cast<std::size_t>(id);
    if (at >= seen_.size()) seen_.resize(at + 1);
    seen_[at] = true;
  }
}

// Candidates with a probability, in the order of their ids; greedy: the best alone.
void Sampler::weigh(std::span<const float> logits, std::vector<Candidate>& out) const {
  require(!logits.empty(), ErrorCode::invalid_argument, "sampler got no logits");
  const auto penalised = [&](std::size_t i) {
    const auto l = static_cast<double>(logits[i]);
    if (options_.repetition_penalty == 1 || i >= seen_.size() || !seen_[i]) return l;
    return l > 0 ? l / options_.repetition_penalty : l * options_.repetition_penalty;
  };
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    require(!std::isnan(logits[i]), ErrorCode::numeric,
            "the model's output is not a number; `subquad info MODEL --check` names a weight that "
            "is none");
    if (penalised(i) > penalised(best)) best = i;
  }
  const double top = penalised(best);
  require(std::isfinite(top), ErrorCode::numeric, "the model's largest output is ", top,
          ", wanted a finite number");
  out.clear();
  out.reserve(logits.size());
  if (options_.temperature == 0) {
    out.push_back({static_cast<std::int32_t>(best), 1});
    return;
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((penalised(i) - top) / options_.temperature);
    if (weight > 0) out.push_back({static_cast<std::int32_t>(i), weight});
  }
}

void Sampler::keep_likeliest(std::vector<Candidate>& all) const {
  if (options_.top_k > 0 && options_.top_k < static_cast<std::int64_t>(all.size())) {
    std::nth_element(all.begin(), all.begin() + options_.top_k, all.end(), more_likely);
    all.erase(all.begin() + options_.top_k, all.end());
  }
  double total = 0, kept = 0;
  for (const Candidate& c : all) total += c.probability;
  // A heap, of which the likeliest are taken: of a large vocabulary few stay.
  const auto less_likely = [](const Candidate& a, const Candidate& b) { return more_likely(b, a); };
  std::make_heap(all.begin(), all.end(), less_likely);
  const double least = options_.min_p * all.front().probability;
  auto taken = all.end();  // what was taken stands behind it, the likeliest last
  while (taken != all.begin()) {
    const bool enough = options_.top_p < 1 && kept >= options_.top_p * total;
    if (taken != all.end() && (enough || all.front().probability < least)) break;
    std::pop_heap(all.begin(), taken, less_likely);
    kept += (--taken)->probability;
  }
  all.erase(all.begin(), taken);
  std::reverse(all.begin(), all.end());
}

std::vector<Sampler::Candidate> Sampler::candidates(std::span<const float> logits) const {
  std::vector<Candidate> all;
  weigh(logits, all);
  if (options_.top_k > 0 || options_.top_p < 1 || options_.min_p > 0) keep_likeliest(all);
  double total = 0;
  for (const Candidate& c : all) total += c.probability;
  for (Candidate& c : all) c.probability /= total;
  return all;
}

std::int32_t Sampler::next(std::span<const float> logits) {
  const std::vector<Candidate> all = candidates(logits);
  double target = rng_.uniform(position_, 0);
  std::int32_t id = all.back().id;
  for (const Candidate& c : all) {
    target -= c.probability;
    if (target < 0) {
      id = c.id;
      break;
    }
  }
  read(std::span(&id, 1));
  return id;
}

}  // namespace subquad
