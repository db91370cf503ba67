#include "subquad/mixer/common/linear_plan.h"

#include <iterator>
#include <new>
#include <type_traits>

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

// Small products of one forward chunk of n tokens, tile by tile as small_gemm runs them. A row that
// starts from zero reads no state in its first chunk and, if nobody asks for it, writes none in its
// last.
double chunk_macs(const LinearCoreOptions& o, std::int64_t n, std::int64_t dk, std::int64_t dv,
                  std::int64_t heads_per_key, bool reads_state, bool writes_state) {
  const auto [rows, lanes] = linear_core_tiles();
  const std::int64_t padded = pad_lanes(n), tall = dv == lanes ? 2 * rows : rows;
  std::int64_t scores = 0, pairs = 0, before = 0;
  for (std::int64_t row = 0; row < padded; row += rows) {
    scores += rows * round_up(row + rows, lanes);
    before += rows * std::min(n, row) + rows * (rows - 1) / 2;
  }
  for (std::int64_t row = 0; row < padded; row += tall) pairs += tall * std::min(n, row + tall);
  double macs =
      static_cast<double>((o.erase ? 2 : 1) * scores * dk) / static_cast<double>(heads_per_key);
  macs += static_cast<double>(pairs * dv);
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
  p.scale = static_cast<float>(args.options.scale);
  p.eps = static_cast<float>(args.options.eps);
  return p;
}

namespace {

template <class T>
T* take_array(FloatArena& a, std::int64_t count) {
  static_assert(std::is_trivially_destructible_v<T> && sizeof(T) % sizeof(float) == 0);
  float* at = a.take(count * static_cast<std::int64_t>(sizeof(T) / sizeof(float)));
  return at ? new (at) T[static_cast<std::size_t>(count)]{} : nullptr;
}

void take_kept(const LinearPlan& p, bool state_only, FloatArena& a, LinearKept& kept) {
  const std::int64_t c = p.chunk;
  kept.S = a.take(p.heads * p.dk * p.dv);
  kept.norm = a.take(p.heads * p.dk);
  if (state_only) return;
  kept.k = a.take(c * p.dk);
  kept.kk = p.erase ? a.take(c * c) : nullptr;
  kept.u = a.take(p.heads * c * p.dv);
  kept.gates = take_array<LinearGates>(a, p.heads);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    LinearGates none;
    LinearGates& g = kept.gates ? kept.gates[r] : none;
    float** const rows[] = {&g.row,         &g.column,      &g.w,       &g.w_in,  &g.a,
                            &g.r_high,      &g.r_low,       &g.c_high,  &g.c_low, &g.from_start,
                            &g.to_end,      &g.floor,       &g.inverse, &g.out,   &g.denominator,
                            &g.erase_scale, &g.m_from_write};
    float* at = a.take(static_cast<std::int64_t>(std::size(rows)) * c);
    for (float** row : rows) {
      *row = at;
      if (at) at += c;
    }
  }
}

}  // namespace

std::int64_t carve_linear_workspace(const LinearPlan& p, bool backward, std::int64_t chunks,
                                    float* base, LinearWorkspace& w) {
  FloatArena a(base);
  const std::int64_t c = p.chunk, dk = p.dk, dv = p.dv;
  w.chunks = take_array<LinearChunk>(a, chunks);
  w.q = a.take(c * dk);
  w.kt = a.take(dk * c);
  w.qk = a.take(c * c);
  w.decay = a.take(c * c);
  w.weighted = a.take(c * c);
  w.n = p.erase ? a.take(c * c) : nullptr;
  w.o = a.take(c * dv);
  w.read_norm = a.take(c);
  w.m = a.take(p.heads);
  const std::int64_t slots = backward ? chunks + 1 : 1;
  w.kept = take_array<LinearKept>(a, slots);
  for (std::int64_t i = 0; i < slots; ++i) {
    LinearKept none;
    take_kept(p, backward && i == chunks, a, w.kept ? w.kept[i] : none);
  }
  if (!backward) return a.used();
  w.dq = a.take(c * dk);
  w.dkey = a.take(c * dk);
  w.p_sum = a.take(c * c);
  w.mm_sum = p.erase ? a.take(c * c) : nullptr;
  w.e = a.take(c * dv);
  w.ut = a.take(dv * c);
  w.du = a.take(c * dv);
  w.x = a.take(c * c);
  w.y = a.take(c * c);
  w.tq = a.take(c * dk);
  w.tk = a.take(c * dk);
  w.tu = a.take(c * dk);
  w.st = a.take(dv * dk);
  w.dst = a.take(dv * dk);
  for (float** row : {&w.delta, &w.eta, &w.colsum, &w.row_q, &w.row_k, &w.cross, &w.dwrite, &w.dm,
                      &w.weights, &w.sums, &w.read_query}) {
    *row = a.take(c);
  }
  w.dS = a.take(p.heads * dk * dv);
  w.dnorm = a.take(p.heads * dk);
  w.dm_state = a.take(p.heads);
  w.dnorm_behind = a.take(dk);
  return a.used();
}

double linear_core_executed_macs(const LinearCoreOptions& o, std::int64_t tokens, std::int64_t dk,
                                 std::int64_t dv, std::int64_t heads_per_key) {
  if (tokens <= kLinearStepTokens) {  // as linear_step-inl.h walks over S and its rows
    const std::int64_t step = (o.erase ? 4 : 3) * dk * dv + (o.erase ? 5 : 2) * dv;
    return static_cast<double>(tokens * (step + (o.erase ? dk : 0)));
  }
  dk = pad_lanes(dk);
  dv = pad_lanes(dv);
  const std::int64_t chunk = chunk_length(tokens, dk, dv, heads_per_key > 1 && !o.erase);
  double macs = 0;
  for (std::int64_t t = 0; t < tokens; t += chunk) {
    macs += chunk_macs(o, std::min(chunk, tokens - t), dk, dv, heads_per_key,
                       t > 0 || o.signed_decay, t + chunk < tokens);
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
