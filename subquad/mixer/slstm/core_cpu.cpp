// sLSTM in SIMD. Schedule: heads are independent over all time, so the task is (head, tile of rows)
// for the whole sequence; R of the head stays in L1/L2 as [d][gate][unit]. Per step and vector of
// units, 4 gates x kRows accumulators take h_{t-1} broadcast times a row of R; the gates follow in
// registers. Backward: the same with R transposed, then dR as one product per head. Rows with
// resets or padding run alone, span by span. Roofline: FMA for D >= 64, gate functions (about 4 ns
// per unit and step) below.
#include "subquad/mixer/slstm/core.h"

#include <algorithm>
#include <vector>

#include "subquad/backend/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/slstm/core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;
constexpr std::int64_t kRows = 4;

std::int64_t padded(std::int64_t d) { return (d + vm::kWidth - 1) / vm::kWidth * vm::kWidth; }

// (D,4,D) of one head as [d][gate][unit], units padded with zeros.
void pack(const float* R, std::int64_t D, float* to) {
  const std::int64_t P = padded(D);
  for (std::int64_t i = 0; i < 4 * D; ++i) {
    std::copy_n(R + i * D, D, to + i * P);
    std::fill(to + i * P + D, to + (i + 1) * P, 0.0F);
  }
}
// R transposed: [gate][unit][d], d padded.
void pack_transposed(const float* R, std::int64_t D, float* to) {
  const std::int64_t P = padded(D);
  std::fill_n(to, 4 * D * P, 0.0F);
  for (std::int64_t d = 0; d < D; ++d) {
    for (std::int64_t g = 0; g < 4; ++g) {
      for (std::int64_t u = 0; u < D; ++u) to[(g * D + u) * P + d] = R[(d * 4 + g) * D + u];
    }
  }
}

// State of a tile: [row][h c n m][unit].
struct Tile {
  float* data;
  std::int64_t P;
  float* at(std::int64_t row, std::int64_t field) const { return data + (row * 4 + field) * P; }
};

void load_state(const SlstmForward<float>& a, std::int64_t b, std::int64_t head, const Tile& s,
                std::int64_t row) {
  const View<const float, 3>* from[] = {&a.h_initial, &a.c_initial, &a.n_initial, &a.m_initial};
  const std::int64_t D = a.R.dim(1);
  for (std::int64_t f = 0; f < 4; ++f) {
    std::fill_n(s.at(row, f), s.P, 0.0F);
    if (*from[f]) std::copy_n(from[f]->at(b, head), D, s.at(row, f));
  }
}

void store_state(const SlstmForward<float>& a, std::int64_t b, std::int64_t head, const Tile& s,
                 std::int64_t row) {
  const View<float, 3>* to[] = {&a.h_final, &a.c_final, &a.n_final, &a.m_final};
  for (std::int64_t f = 0; f < 4; ++f) {
    if (*to[f]) std::copy_n(s.at(row, f), a.R.dim(1), to[f]->at(b, head));
  }
}

// One position of N rows b, b+1, ...: reads h from the tile, writes the new h to `next`
// [row][unit].
template <std::int64_t N>
void step(const SlstmForward<float>& a, std::int64_t b, std::int64_t t, std::int64_t head,
          const float* R, const Tile& s, float* next) {
  const std::int64_t D = a.R.dim(1), P = s.P;
  for (std::int64_t u = 0; u < D; u += vm::kWidth) {
    const std::int64_t rest = D - u;
    V acc[N][4];
    HWY_UNROLL(4)
    for (std::int64_t r = 0; r < N; ++r) {
      const float* x = a.x.at(b + r, t, head) + u;
      HWY_UNROLL(4)
      for (std::int64_t g = 0; g < 4; ++g) {
        acc[r][g] = vm::load(x + g * D, rest);
        if (a.b) acc[r][g] = hn::Add(acc[r][g], vm::load(a.b.at(head, g) + u, rest));
      }
    }
    const float* row = R + u;
    for (std::int64_t d = 0; d < D; ++d, row += 4 * P) {
      const V r0 = hn::Load(vm::F(), row), r1 = hn::Load(vm::F(), row + P);
      const V r2 = hn::Load(vm::F(), row + 2 * P), r3 = hn::Load(vm::F(), row + 3 * P);
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < N; ++r) {
        const V h = vm::set(s.at(r, 0)[d]);
        acc[r][0] = hn::MulAdd(h, r0, acc[r][0]);
        acc[r][1] = hn::MulAdd(h, r1, acc[r][1]);
        acc[r][2] = hn::MulAdd(h, r2, acc[r][2]);
        acc[r][3] = hn::MulAdd(h, r3, acc[r][3]);
      }
    }
    HWY_UNROLL(4)
    for (std::int64_t r = 0; r < N; ++r) {
      const V c0 = hn::Load(vm::F(), s.at(r, 1) + u), n0 = hn::Load(vm::F(), s.at(r, 2) + u);
      const V m0 = hn::Load(vm::F(), s.at(r, 3) + u);
      const V l = hn::Add(m0, a.exponential_forget ? acc[r][1] : vm::log_sigmoid(acc[r][1]));
      const V m = hn::IfThenElse(hn::Eq(n0, vm::set(0)), acc[r][0], hn::Max(acc[r][0], l));
      const V i = vm::exp(hn::Sub(acc[r][0], m)), f = hn::Min(vm::set(1), vm::exp(hn::Sub(l, m)));
      const V z = vm::tanh(acc[r][2]), o = vm::sigmoid(acc[r][3]);
      const V c = hn::MulAdd(f, c0, hn::Mul(i, z)), n = hn::MulAdd(f, n0, i);
      const V h = hn::Mul(o, hn::Div(c, n));
      if (a.saved) {
        float* keep = a.saved.at(b + r, t, head) + u;
        vm::store(i, keep, rest);
        vm::store(f, keep + D, rest);
        vm::store(z, keep + 2 * D, rest);
        vm::store(o, keep + 3 * D, rest);
        vm::store(c, keep + 4 * D, rest);
        vm::store(n, keep + 5 * D, rest);
        vm::store(hn::Load(vm::F(), s.at(r, 0) + u), keep + 6 * D, rest);
      }
      hn::Store(c, vm::F(), s.at(r, 1) + u);
      hn::Store(n, vm::F(), s.at(r, 2) + u);
      hn::Store(m, vm::F(), s.at(r, 3) + u);
      hn::Store(h, vm::F(), next + r * P + u);
      vm::store(h, a.h.at(b + r, t, head) + u, rest);
    }
  }
  for (std::int64_t r = 0; r < N; ++r) std::copy_n(next + r * P, P, s.at(r, 0));
}

void zero_positions(const SlstmForward<float>& a, std::int64_t b, std::int64_t head,
                    std::int64_t from) {
  const std::int64_t D = a.R.dim(1);
  for (std::int64_t t = from; t < a.x.dim(1); ++t) {
    std::fill_n(a.h.at(b, t, head), D, 0.0F);
    if (a.saved) std::fill_n(a.saved.at(b, t, head), 7 * D, 0.0F);
  }
}

void forward_task(const SlstmForward<float>& a, std::int64_t head, std::int64_t b,
                  std::int64_t count, Scratch& scratch) {
  const std::int64_t D = a.R.dim(1), P = padded(D);
  float* R = scratch.get<float>(4 * D * P + kRows * 5 * P);
  const Tile s{R + 4 * D * P, P};
  float* next = s.data + kRows * 4 * P;
  pack(a.R.at(head), D, R);
  for (std::int64_t r = 0; r < count; ++r) load_state(a, b + r, head, s, r);
  if (count == kRows) {
    for (std::int64_t t = 0; t < a.x.dim(1); ++t) step<kRows>(a, b, t, head, R, s, next);
  } else {
    std::int64_t done = 0;
    for (const Span& span : a.spans->row(b)) {
      if (span.reset) std::fill_n(s.data, 4 * P, 0.0F);
      for (std::int64_t t = span.begin; t < span.end; ++t) step<1>(a, b, t, head, R, s, next);
      done = span.end;
    }
    zero_positions(a, b, head, done);
  }
  for (std::int64_t r = 0; r < count; ++r) store_state(a, b + r, head, s, r);
  const std::int64_t steps = count == kRows ? a.x.dim(1) : a.spans->valid_length(b);
  scratch.count_macs(count * steps * 4 * (D + 1) * D);
}

// Tiles of kRows rows while rows are plain; single rows otherwise. Depends on sizes and spans only.
std::vector<std::pair<std::int64_t, std::int64_t>> tiles(const Spans& spans, std::int64_t batch) {
  std::vector<std::pair<std::int64_t, std::int64_t>> list;
  for (std::int64_t b = 0; b < batch;) {
    const std::int64_t count = spans.trivial() && b + kRows <= batch ? kRows : 1;
    list.emplace_back(b, count);
    b += count;
  }
  return list;
}

void slstm_forward(const SlstmForward<float>& a, ThreadPool& threads) {
  const auto list = tiles(*a.spans, a.x.dim(0));
  const auto count = static_cast<std::int64_t>(list.size());
  threads.run(count * a.x.dim(2), [&](std::int64_t task, Scratch& scratch) {
    const auto [b, rows] = list[static_cast<std::size_t>(task % count)];
    forward_task(a, task / count, b, rows, scratch);
  });
}

// Gradient state of a tile: [row][dh dc dn dm][unit]; dp: [row][gate][unit].
template <std::int64_t N>
void step_backward(const SlstmBackward<float>& g, std::int64_t b, std::int64_t t, std::int64_t head,
                   const float* Rt, const Tile& s, float* dp, bool first, bool reset) {
  const auto& a = g.f;
  const std::int64_t D = a.R.dim(1), P = s.P;
  for (std::int64_t r = 0; r < N; ++r) {
    const float* keep = a.saved.at(b + r, t, head);
    const float* earlier = first ? nullptr : a.saved.at(b + r, t - 1, head);
    for (std::int64_t u = 0; u < D; u += vm::kWidth) {
      const std::int64_t rest = D - u;
      V c0 = vm::set(0), n0 = vm::set(0);
      if (earlier) {
        c0 = vm::load(earlier + 4 * D + u, rest);
        n0 = vm::load(earlier + 5 * D + u, rest);
      } else if (!reset) {
        if (a.c_initial) c0 = vm::load(a.c_initial.at(b + r, head) + u, rest);
        if (a.n_initial) n0 = vm::load(a.n_initial.at(b + r, head) + u, rest);
      }
      const V i = vm::load(keep + u, rest), f = vm::load(keep + D + u, rest),
              z = vm::load(keep + 2 * D + u, rest);
      const V o = vm::load(keep + 3 * D + u, rest), c = vm::load(keep + 4 * D + u, rest);
      // Lanes past the end hold n = 0: a one keeps the division finite.
      const V n = hn::IfThenElse(hn::Eq(vm::load(keep + 5 * D + u, rest), vm::set(0)), vm::set(1),
                                 vm::load(keep + 5 * D + u, rest));
      V dh = hn::Load(vm::F(), s.at(r, 0) + u);
      if (g.dh) dh = hn::Add(dh, vm::load(g.dh.at(b + r, t, head) + u, rest));
      const V over_n = hn::Div(dh, n), ratio = hn::Div(c, n);
      const V dc = hn::MulAdd(over_n, o, hn::Load(vm::F(), s.at(r, 1) + u));
      const V dn = hn::NegMulAdd(hn::Mul(over_n, o), ratio, hn::Load(vm::F(), s.at(r, 2) + u));
      const V d_log_i = hn::Mul(i, hn::MulAdd(z, dc, dn));
      const V d_log_f = hn::Mul(f, hn::MulAdd(c0, dc, hn::Mul(n0, dn)));
      const V to_m = hn::Sub(hn::Load(vm::F(), s.at(r, 3) + u), hn::Add(d_log_i, d_log_f));
      const auto from_input = hn::Ge(i, vm::set(1));
      const V dl = hn::Add(d_log_f, hn::IfThenZeroElse(from_input, to_m));
      float* p = dp + r * 4 * P + u;
      hn::Store(hn::Add(d_log_i, hn::IfThenElseZero(from_input, to_m)), vm::F(), p);
      hn::Store(dl, vm::F(), p + P);  // times the slope of the forget gate below
      hn::Store(hn::Mul(hn::Mul(i, dc), hn::NegMulAdd(z, z, vm::set(1))), vm::F(), p + 2 * P);
      hn::Store(hn::Mul(hn::Mul(dh, ratio), hn::Mul(o, hn::Sub(vm::set(1), o))), vm::F(),
                p + 3 * P);
      hn::Store(hn::Mul(f, dc), vm::F(), s.at(r, 1) + u);
      hn::Store(hn::Mul(f, dn), vm::F(), s.at(r, 2) + u);
      hn::Store(dl, vm::F(), s.at(r, 3) + u);
    }
  }
  // The forget gate's pre-activation again (one gate of R h): its slope is sigmoid(-p_f).
  if (!a.exponential_forget) {
    for (std::int64_t u = 0; u < D; u += vm::kWidth) {
      const std::int64_t rest = D - u;
      for (std::int64_t r = 0; r < N; ++r) {
        V p_f = vm::load(a.x.at(b + r, t, head, 1) + u, rest);
        if (a.b) p_f = hn::Add(p_f, vm::load(a.b.at(head, 1) + u, rest));
        const float* h = a.saved.at(b + r, t, head, 6);
        for (std::int64_t d = 0; d < D; ++d)
          p_f = hn::MulAdd(vm::set(h[d]), vm::load(a.R.at(head, d, 1) + u, rest), p_f);
        float* p = dp + (r * 4 + 1) * P + u;
        hn::Store(hn::Mul(hn::Load(vm::F(), p), vm::sigmoid(hn::Neg(p_f))), vm::F(), p);
      }
    }
  }
  for (std::int64_t r = 0; r < N; ++r) {
    for (std::int64_t gate = 0; gate < 4; ++gate)
      std::copy_n(dp + (r * 4 + gate) * P, D, g.dx.at(b + r, t, head, gate));
  }
  for (std::int64_t d = 0; d < D; d += vm::kWidth) {  // dh_{t-1} = R dp
    V acc[N][2];
    for (std::int64_t r = 0; r < N; ++r) acc[r][0] = acc[r][1] = vm::set(0);
    for (std::int64_t gate = 0; gate < 4; ++gate) {
      for (std::int64_t u = 0; u < D; ++u) {
        const V row = hn::Load(vm::F(), Rt + (gate * D + u) * P + d);
        HWY_UNROLL(4)
        for (std::int64_t r = 0; r < N; ++r) {
          acc[r][gate & 1] = hn::MulAdd(vm::set(dp[(r * 4 + gate) * P + u]), row, acc[r][gate & 1]);
        }
      }
    }
    for (std::int64_t r = 0; r < N; ++r)
      hn::Store(hn::Add(acc[r][0], acc[r][1]), vm::F(), s.at(r, 0) + d);
  }
}

void backward_task(const SlstmBackward<float>& g, std::int64_t head, std::int64_t b,
                   std::int64_t count, Scratch& scratch) {
  const auto& a = g.f;
  const std::int64_t D = a.R.dim(1), P = padded(D);
  float* Rt = scratch.get<float>(4 * D * P + kRows * 8 * P);
  const Tile s{Rt + 4 * D * P, P};
  float* dp = s.data + kRows * 4 * P;
  pack_transposed(a.R.at(head), D, Rt);
  const View<const float, 3>* from[] = {&g.dh_final, &g.dc_final, &g.dn_final, &g.dm_final};
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t f = 0; f < 4; ++f) {
      std::fill_n(s.at(r, f), P, 0.0F);
      if (*from[f]) std::copy_n(from[f]->at(b + r, head), D, s.at(r, f));
    }
  }
  if (count == kRows) {
    for (std::int64_t t = a.x.dim(1); t-- > 0;)
      step_backward<kRows>(g, b, t, head, Rt, s, dp, t == 0, false);
  } else {
    const auto row = a.spans->row(b);
    const std::int64_t done = row.empty() ? 0 : row.back().end;
    for (std::int64_t t = done; t < a.x.dim(1); ++t) std::fill_n(g.dx.at(b, t, head), 4 * D, 0.0F);
    for (std::size_t i = row.size(); i-- > 0;) {
      for (std::int64_t t = row[i].end; t-- > row[i].begin;) {
        step_backward<1>(g, b, t, head, Rt, s, dp, t == row[i].begin, row[i].reset);
      }
      if (row[i].reset) std::fill_n(s.data, 4 * P, 0.0F);
    }
  }
  const View<float, 3>* to[] = {&g.dh_initial, &g.dc_initial, &g.dn_initial, &g.dm_initial};
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t f = 0; f < 4; ++f) {
      if (*to[f]) std::copy_n(s.at(r, f), D, to[f]->at(b + r, head));
    }
  }
}

void slstm_backward(const SlstmBackward<float>& g, ThreadPool& threads) {
  const auto& a = g.f;
  const std::int64_t batch = a.x.dim(0), T = a.x.dim(1), H = a.x.dim(2), D = a.R.dim(1);
  const auto list = tiles(*a.spans, batch);
  const auto count = static_cast<std::int64_t>(list.size());
  threads.run(count * H, [&](std::int64_t task, Scratch& scratch) {
    const auto [b, rows] = list[static_cast<std::size_t>(task % count)];
    backward_task(g, task / count, b, rows, scratch);
  });
  // dR[d][gate,unit] += sum over all positions of h_{t-1}[d] dx[gate,unit]; padding holds zeros in
  // both.
  threads.run(H, [&](std::int64_t head, Scratch& scratch) {
    gemm<float>(scratch, true, false, D, 4 * D, batch * T, 1, a.saved.at(0, 0, head, 6),
                a.saved.stride(1), g.dx.at(0, 0, head), g.dx.stride(1), 1, g.dR.at(head), 4 * D);
    if (!g.db) return;
    float* sum = scratch.get<float>(4 * D);
    for (std::int64_t b = 0; b < batch; ++b) {
      std::fill_n(sum, 4 * D, 0.0F);
      for (std::int64_t t = 0; t < T; ++t) {
        const float* dx = g.dx.at(b, t, head);
        for (std::int64_t i = 0; i < 4 * D; ++i) sum[i] += dx[i];
      }
      for (std::int64_t i = 0; i < 4 * D; ++i) g.db.at(head)[i] += sum[i];
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(slstm_forward);
HWY_EXPORT(slstm_backward);

}  // namespace

void add_slstm_core_cpu(KernelTable& table) {
  table.add(Impl<SlstmForward<float>>{"highway", nullptr,
                                      [](const SlstmForward<float>& a, ThreadPool& threads) {
                                        HWY_DYNAMIC_DISPATCH(slstm_forward)(a, threads);
                                      }});
  table.add(Impl<SlstmBackward<float>>{"highway", nullptr,
                                       [](const SlstmBackward<float>& a, ThreadPool& threads) {
                                         HWY_DYNAMIC_DISPATCH(slstm_backward)(a, threads);
                                       }});
}

}  // namespace subquad
#endif
