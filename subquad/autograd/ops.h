// The differentiable operations below the mixers, each with forward, backward and a literal
// reference. Inputs are Vars (activations) and ParamIds (weights; their gradients are accumulated
// in the store). All work in f32 and in f64. Shapes: "..." stands for any leading dimensions.
#pragma once

#include <span>
#include <vector>

#include "subquad/autograd/tape.h"
#include "subquad/backend/pointwise.h"
#include "subquad/backend/sequence.h"

namespace subquad {

// --- shape (ops/shape.cpp)
Var reshape(Context& cx, const Var& x, Shape shape);  // free
std::vector<Var> split_last(Context& cx, const Var& x, std::span<const std::int64_t> widths);
Var concat_last(Context& cx, std::span<const Var> parts);
// Concatenates along dimension 1 (time): a (B,Ta,...), b (B,Tb,...). For caches.
Var concat_time(Context& cx, const Var& a, const Var& b);

// --- pointwise (ops/pointwise.cpp)
Var unary(Context& cx, Unary kind, const Var& x);
Var add(Context& cx, const Var& a, const Var& b);
Var mul(Context& cx, const Var& a, const Var& b);
Var scale(Context& cx, const Var& x, double factor);
Var soft_cap(Context& cx, const Var& x, double cap);  // cap tanh(x / cap); cap <= 0: x itself
Var gated(Context& cx, Unary kind, const Var& gate, const Var& x);  // kind(gate) * x
// x (...,2F) -> (...,F): kind(first half) * second half. SwiGLU: silu, GEGLU: gelu.
Var gated_halves(Context& cx, Unary kind, const Var& x);
Var add_bias(Context& cx, const Var& x, ParamId b);    // b (last dimension)
Var mul_weight(Context& cx, const Var& x, ParamId w);  // w (last dimension)

// y + D_h x, one weight per head. x, y (B,T,H,P), D (H). Mamba-2's skip.
Var add_skip(Context& cx, const Var& y, const Var& x, ParamId D);

// --- gates (ops/gates.cpp)
struct DecayGates {
  Var decay, write;
};
// Mamba-2: dt = clamp(softplus(dt_raw + dt_bias), lo, hi); decay = -exp(A_log) dt, write = dt.
// signed_decay: decay is the transition 2 exp(-exp(A_log) dt) - 1 itself. dt_raw (B,T,H), A_log,
// dt_bias (H).
DecayGates mamba2_gates(Context& cx, const Var& dt_raw, ParamId A_log, ParamId dt_bias, double lo,
                        double hi, bool signed_decay);
// GDN: decay = -exp(A_log) softplus(a + dt_bias), write = write_range sigmoid(b), write_range 1
// or 2.
DecayGates gdn_gates(Context& cx, const Var& a, const Var& b, ParamId A_log, ParamId dt_bias,
                     double write_range);
// KDA: decay = -exp(A_log) softplus(a + dt_bias), a decay for each of the C channels of a head.
// a (B,T,H*C), A_log (H), dt_bias (H*C) -> (B,T,H*C)
Var channel_decay(Context& cx, const Var& a, ParamId A_log, ParamId dt_bias);

// --- normalisation (ops/norm.cpp)
struct NormOptions {
  double eps = 1e-6;
  bool center = false;    // LayerNorm (subtract the mean; population variance) or RMSNorm
  bool plus_one = false;  // the stored weight is w - 1
};
// Over the last dimension n of x (...,n). w (n), or (H*n) with x (...,H,n): one weight per head.
Var norm(Context& cx, const Var& x, ParamId w, ParamId b, const NormOptions& options);
Var l2_norm(Context& cx, const Var& x, double eps);  // x / sqrt(sum x^2 + eps), last dimension
struct GatedNormOptions {
  double eps = 1e-5;
  std::int64_t groups = 1;  // the last dimension C is split into `groups` independent norms
  bool gate_first = false;  // norm(x act(z)) w (Mamba-2) or norm(x) w act(z) (GDN)
  Unary activation = Unary::silu;
};
// x, z (...,C), RMS per group of C/groups channels; w (C), or (C/groups): shared by the groups.
Var gated_norm(Context& cx, const Var& x, const Var& z, ParamId w, const GatedNormOptions& options);

// --- dense (ops/dense.cpp)
Var linear(Context& cx, const Var& x, ParamId w, ParamId b = {});  // w (out,in): y = x wᵀ + b
// The same in parts: a part is x times the next `width` rows of w, plus elements of `bias` from
// bias_first on if there is one. Every part is a tensor of its own, so that one projection can
// serve queries, keys, values and gates without being copied apart.
struct ProjectionPart {
  std::int64_t width = 0;
  ParamId bias{};
  std::int64_t bias_first = 0;
};
std::vector<Var> linear_split(Context& cx, const Var& x, ParamId w,
                              std::span<const ProjectionPart> parts);
// Block-diagonal: x (...,H*Din), w (H,Dout,Din) -> (...,H*Dout).
Var head_linear(Context& cx, const Var& x, ParamId w);
Var embedding(Context& cx, const Tensor& ids, ParamId table);  // i32 (B,T), (V,D) -> (B,T,D)
struct CrossEntropyOptions {
  double z_weight = 0;         // + z_weight * logsumexp^2 per scored row
  double soft_cap = 0;         // logits = cap tanh(logits / cap)
  bool mean = true;            // over scored rows; sum otherwise. No scored row: loss 0, gradient 0
  std::int64_t mean_over = 0;  // so many rows, of which these are a part; 0: the scored ones here
};
// logits = x wᵀ (+ b), never more than one tile of rows at a time. targets i32 (rows), -1 =
// unscored. x (...,D) with rows = product of the leading dimensions. Returns a scalar (1).
Var linear_cross_entropy(Context& cx, const Var& x, ParamId w, ParamId b, const Tensor& targets,
                         const CrossEntropyOptions& options);
// The same without gradients: natural-log loss and arg-max per row (unscored rows: 0, -1).
struct RowScores {
  std::vector<float> loss;
  std::vector<std::int32_t> predicted;
};
RowScores score_rows(Context& cx, const Tensor& x, ParamId w, ParamId b, const Tensor& targets,
                     double soft_cap);

// --- quantiles (ops/quantile.cpp)
// Mean over levels and scored targets of (q - 1[y < yhat]) (y - yhat). predicted (...,Q P), by level
// and then step; targets f32 (...,P), NaN = not scored. mean_over: so many targets, of which these
// are a part; 0: the scored ones here. No scored target: loss 0, gradient 0. Returns a scalar (1).
Var pinball(Context& cx, const Var& predicted, const Tensor& targets,
            std::span<const double> levels, std::int64_t mean_over = 0);

// --- experts (ops/experts.cpp): rows (N) that each go to k of E experts
struct RouterOptions {
  std::int64_t active = 1;  // k
  bool sigmoid = false;     // scores sigmoid(logits), not softmax
  bool normalise = true;    // the chosen scores are divided by their sum
  double scale = 1;
};
struct Routing {
  Var weights;                       // (N,k): scale score (/ sum)
  std::vector<std::int64_t> expert;  // (N,k), row-major: whose weight it is
};
// logits (N,E). correction (E) or none: added to the scores for choosing only; no gradient.
Routing route(Context& cx, const Var& logits, ParamId correction, const RouterOptions& options);
Var take_rows(Context& cx, const Var& x, std::vector<std::int64_t> rows);  // (N,D) -> (rows,D)
// y (N,D): row e / k gets weights[e] times the row of a part that stands for entry e of (N,k).
struct WeightedRows {
  Var rows;                           // (n,D)
  std::vector<std::int64_t> entries;  // (n)
};
Var combine_rows(Context& cx, const Var& weights, std::vector<WeightedRows> parts,
                 std::int64_t width);

// --- sequence (ops/sequence.cpp)
// Depthwise causal convolution of width K over time, then SiLU if `silu`. x (B,T,C), w (C,K), b (C)
// or none; tap K-1 meets the current token; zeros before a sequence or document starts. state:
// (B,K-1,C), the last K-1 inputs, oldest first; read and replaced; null = zeros, not kept.
Var short_conv(Context& cx, const Var& x, ParamId w, ParamId b, bool silu, const Spans& spans,
               Var* state);
// The same with its channels in parts of `widths`, each a tensor of its own.
std::vector<Var> short_conv_split(Context& cx, const Var& x, ParamId w, ParamId b, bool silu,
                                  const Spans& spans, Var* state,
                                  std::span<const std::int64_t> widths);
struct RopeOptions {
  double theta = 10000;
  std::int64_t dims = 0;     // rotate the first `dims` features (0 = all); the rest pass through
  bool interleaved = false;  // pairs (2m, 2m+1) instead of (m, m + dims/2)
  RopeScaling scaling{};     // of the frequencies
};
// x (B,T,H,D). Position of column t: first_position + t, counted from 0 again where a span resets.
Var rope(Context& cx, const Var& x, const RopeOptions& options, const Spans& spans,
         std::int64_t first_position);

void add_op_kernels(KernelTable& table);  // every implementation of the ops above, fastest first

}  // namespace subquad
