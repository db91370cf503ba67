// Sampler: which token comes next, given the logits of a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/base/rng.h"

namespace subquad {

// The filters apply in this order, as in the field's libraries; each sees what the ones before left,
// and at least one token always stays:
//   repetition_penalty r  l = l > 0 ? l / r : l r, once for every id that was read or drawn before
//                         (Keskar et al. 2019, arXiv 1909.05858)
//   temperature t         p = softmax(l / t); t = 0: the largest logit, of equals the smallest id,
//                         and no filter below matters
//   top_k k               the k likeliest; of equals the smaller ids; 0: all
//   top_p p               the fewest likeliest that hold this much of the mass (Holtzman et al. 2020)
//   min_p m               those at least m times as likely as the likeliest (arXiv 2407.01082)
struct SamplerOptions {
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 0.95;
  double min_p = 0;
  double repetition_penalty = 1;
  std::uint64_t seed = 0;
};

// Of one sequence. A draw is a function of (seed, position in the sequence, logits): the same seed
// gives the same text alone, in a batch, and continued from a saved state.
class Sampler {
 public:
  // Errors: invalid_argument, naming the option, what was got and its range.
  explicit Sampler(const SamplerOptions& options);

  // Ids of the sequence that were not drawn: the prompt, in order.
  void read(std::span<const std::int32_t> ids);
  // The next id, 0 <= id < logits.size(); it counts as read. Logits of -infinity are never drawn.
  // Errors: numeric if a logit is NaN or +infinity, or all are -infinity.
  // Cost: O(V) for greedy or unfiltered draws, else O(V + kept log V).
  std::int32_t next(std::span<const float> logits);

  struct Candidate {
    std::int32_t id;
    double probability;
  };
  // What next() draws from: probabilities add up to 1; the likeliest first if a filter is on.
  std::vector<Candidate> candidates(std::span<const float> logits) const;

 private:
  void weigh(std::span<const float> logits, std::vector<Candidate>& out) const;
  void keep_likeliest(std::vector<Candidate>& all) const;

  SamplerOptions options_;
  Rng rng_;
  std::uint64_t position_ = 0;
  std::vector<bool> seen_;  // by id
};

}  // namespace subquad
