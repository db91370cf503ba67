#include "subquad/mixer/common/linear_plan.h"

namespace subquad {
namespace {

// Longer chunks mean fewer passes over the state (Dk Dv per chunk) and more pairs (C per token).
// The optimum is flat and was measured per head size; sharing q kᵀ between heads favours longer
// chunks, and a chunk longer than the row only adds padding.
std::int64_t chunk_length(std::int64_t tokens, std::int64_t dk, std::int64_t dv,
                          bool shared_scores) {
  const std::int64_t d = std::max(dk, dv);
  std::int64_t best = d <= 16 ? 16 : d <= 64 ? 32 : 48;
  if (d > 32 && shared_scores) best = 64;
  return std::min(best, pad_lanes(tokens));
}

// q kᵀ and k kᵀ on lower tiles of n padded tokens.
std::int64_t score_macs(const LinearCoreOptions& o, std::int64_t padded, std::int64_t dk) {
  const auto [rows, lanes] = linear_core_tiles();
  std::int64_t scores = 0;
  for (std::int64_t row = 0; row < padded; row += rows)
    scores += rows * round_up(row + rows, lanes);
  return (o.erase ? 2 : 1) * scores * dk;
}

// The other small products of one forward chunk of n tokens, tile by tile as small_gemm runs them. A
// row that starts from zero reads no state in its first chunk and, if nobody asks for it, writes
// none in its last.
double chunk_macs(const LinearCoreOptions& o, std::int64_t n, std::int64_t dk, std::int64_t dv,
                  bool reads_state, bool writes_state) {
  const auto [rows, lanes] = linear_core_tiles();
  const std::int64_t padded = pad_lanes(n), tall = dv == lanes ? 2 * rows : rows;
  std::int64_t pairs = 0, before = 0;
  for (std::int64_t row = 0; row < padded; row += rows)
    before += rows * std::min(n, row) + rows * (rows - 1) / 2;
  for (std::int64_t row = 0; row < padded; row += tall) pairs += tall * std::min(n, row + tall);
  auto macs = static_cast<double>(pairs * dv);
  if (reads_state) macs += static_cast<double>((o.erase ? 2 : 1) * padded * dk * dv);
  if (writes_state) macs += static_cast<double>(n * dk * dv);
  if (o.erase) macs += static_cast<double>(before * dv);
  return macs;
}

}  // namespace

LinearPlan plan_linear_core(const LinearCoreForward<float>& args, bool backward) {
  LinearPlan p{};
  p.B = args.q.dim(0);
  p.T = args.q.dim(1);
  p.Hk = args.q.dim(2);
  p.H = args.v.dim(2);
  p.Dk = args.q.dim(3);
  p.Dv = args.v.dim(3);
  p.group = p.H / p.Hk;
  p.heads = p.group;
  // Too few tasks to share out: split the groups, at the price of computing what belongs to their
  // keys more than once. Backwards, dq and dk are then summed over the parts afterwards.
  const std::int64_t enough = backward ? 4 : 8;
  while (p.heads % 2 == 0 && p.tasks() < enough) p.heads /= 2;
  p.dk = pad_lanes(p.Dk);
  p.dv = pad_lanes(p.Dv);
  p.exponential = args.options.exponential_input;
  p.normalizer = args.options.normalizer;
  p.erase = args.options.erase;
  p.is_signed = args.options.signed_decay;
  p.chunk = chunk_length(p.T, p.dk, p.dv, p.group > 1 && !args.options.erase);
  p.channels = args.decay.dim(3) > 1;
  if (p.channels) {  // nothing is shared, and pairs cost more than the state
    p.heads = 1;
    p.chunk = kLanePad;
  }
  p.scale = static_cast<float>(args.options.scale);
  p.eps = static_cast<float>(args.options.eps);
  return p;
}

std::int64_t channel_pair_macs(const LinearCoreOptions& o, std::int64_t n, std::int64_t dk) {
  std::int64_t products = n * (n - 1) / 2;  // every key fades once a token
  for (std::int64_t i = 1; i <= n; ++i) products += (o.erase ? 2 : 1) * round_up(i, 4);
  return products * dk;
}

double linear_core_executed_macs(const LinearCoreOptions& o, std::int64_t tokens, std::int64_t dk,
                                 std::int64_t dv, std::int64_t heads_per_key, bool channel_decay) {
  if (channel_decay && tokens <= kLinearStepTokens)
    return static_cast<double>(tokens * channel_step_macs(o.erase, dk, dv));
  if (tokens <= kLinearStepTokens) {  // as linear_step-inl.h walks over S and its rows
    const std::int64_t step = (o.erase ? 4 : 3) * dk * dv + (o.erase ? 5 : 2) * dv;
    return static_cast<double>(tokens * (step + (o.erase ? dk : 0)));
  }
  dk = pad_lanes(dk);
  dv = pad_lanes(dv);
  const std::int64_t chunk = chunk_length(tokens, dk, dv, heads_per_key > 1 && !o.erase);
  double macs = 0;
  for (std::int64_t t = 0; channel_decay && t < tokens; t += kLanePad) {
    const std::int64_t n = std::min(kLanePad, tokens - t);
    macs += static_cast<double>(channel_pair_macs(o, n, dk)) + chunk_macs(o, n, dk, dv, true, true);
  }
  for (std::int64_t t = 0; !channel_decay && t < tokens; t += chunk) {
    const std::int64_t n = std::min(chunk, tokens - t);
    macs +=
        static_cast<double>(score_macs(o, pad_lanes(n), dk)) / static_cast<double>(heads_per_key) +
        chunk_macs(o, n, dk, dv, t > 0 || o.signed_decay, t + chunk < tokens);
  }
  return macs;
}

std::int64_t count_linear_chunks(std::span<const Span> spans, std::int64_t chunk) {
  std::int64_t count = 0;
  for (const Span& s : spans) count += (s.size() + chunk - 1) / chunk;
  return count;
}

void list_linear_chunks(const LinearPlan& plan, std::span<const Span> spans, bool from_zero,
                        bool final_read, LinearChunk* out) {
  LinearChunk* c = out;
  for (const Span& s : spans) {
    for (std::int64_t t = s.begin; t < s.end; t += plan.chunk) {
      const bool reset = s.reset && t == s.begin;
      // A signed decay that is NaN reaches the output through the state alone, zero or not.
      const bool fresh = !plan.is_signed && (reset || (c == out && from_zero));
      if (reset && c != out) c[-1].last = true;
      *c++ = {t, std::min(plan.chunk, s.end - t), reset, fresh, false};
    }
  }
  if (c != out && !final_read) c[-1].last = true;
}

}  // namespace subquad
