// The literal sLSTM recurrence and its reverse-time derivative (through the stabiliser as well).
// A template on the scalar: f32 and f64 in the kernel list, a counting scalar in law L8's test.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/backend/reference/scalar_math.h"
#include "subquad/mixer/slstm/core.h"

namespace subquad::slstm_core_reference {

template <class T>
struct Units {  // the state of one (row, head)
  std::vector<T> h, c, n, m;
  explicit Units(std::int64_t d) : h(static_cast<std::size_t>(d), T(0)), c(h), n(h), m(h) {}
};

template <class T>
void load(std::vector<T>& to, const View<const T, 3>& from, std::int64_t b, std::int64_t head) {
  if (from) std::copy_n(from.at(b, head), to.size(), to.begin());
}
template <class T>
void store(const std::vector<T>& from, const View<T, 3>& to, std::int64_t b, std::int64_t head) {
  if (to) std::copy(from.begin(), from.end(), to.at(b, head));
}

template <class T>
Units<T> initial_units(const SlstmForward<T>& a, std::int64_t b, std::int64_t head) {
  Units<T> s(a.R.dim(1));
  load(s.h, a.h_initial, b, head);
  load(s.c, a.c_initial, b, head);
  load(s.n, a.n_initial, b, head);
  load(s.m, a.m_initial, b, head);
  return s;
}

template <class T>
void step(const SlstmForward<T>& a, std::int64_t b, std::int64_t t, std::int64_t head,
          Units<T>& s) {
  const std::int64_t D = a.R.dim(1);
  const std::vector<T> before = s.h;
  for (std::int64_t u = 0; u < D; ++u) {
    const auto j = static_cast<std::size_t>(u);
    T p[4];
    for (std::int64_t g = 0; g < 4; ++g) {
      p[g] = *a.x.at(b, t, head, g, u) + (a.b ? *a.b.at(head, g, u) : T(0));
      for (std::int64_t d = 0; d < D; ++d)
        p[g] += *a.R.at(head, d, g, u) * before[static_cast<std::size_t>(d)];
    }
    const T l = s.m[j] + (a.exponential_forget ? p[1] : reference::log_sigmoid(p[1]));
    const T m = s.n[j] == 0 ? p[0] : std::max<T>(p[0], l);
    const T i = std::exp(p[0] - m), f = std::min<T>(std::exp(l - m), T(1));
    const T z = std::tanh(p[2]), o = reference::sigmoid(p[3]);
    s.c[j] = f * s.c[j] + i * z;
    s.n[j] = f * s.n[j] + i;
    s.m[j] = m;
    s.h[j] = o * s.c[j] / s.n[j];
    *a.h.at(b, t, head, u) = s.h[j];
    if (!a.saved) continue;
    const T slope = a.exponential_forget ? T(1) : reference::sigmoid(-p[1]);
    const T keep[7] = {i, f, z, o, s.c[j], s.n[j], slope};
    for (std::int64_t r = 0; r < 7; ++r) *a.saved.at(b, t, head, r, u) = keep[r];
  }
}

template <class T>
void forward(const SlstmForward<T>& a, ThreadPool&) {
  const std::int64_t D = a.R.dim(1);
  for (std::int64_t b = 0; b < a.x.dim(0); ++b) {
    for (std::int64_t head = 0; head < a.x.dim(2); ++head) {
      for (std::int64_t t = 0; t < a.x.dim(1); ++t) {
        std::fill_n(a.h.at(b, t, head), D, T(0));
        if (a.saved) std::fill_n(a.saved.at(b, t, head), 7 * D, T(0));
      }
      Units<T> s = initial_units(a, b, head);
      for (const Span& span : a.spans->row(b)) {
        if (span.reset) s = Units<T>(D);
        for (std::int64_t t = span.begin; t < span.end; ++t) step(a, b, t, head, s);
      }
      store(s.h, a.h_final, b, head);
      store(s.c, a.c_final, b, head);
      store(s.n, a.n_final, b, head);
      store(s.m, a.m_final, b, head);
    }
  }
}

template <class T>
void step_backward(const SlstmBackward<T>& a, std::int64_t b, std::int64_t t, std::int64_t head,
                   const Units<T>& before, Units<T>& d) {
  const auto& f = a.f;
  const std::int64_t D = f.R.dim(1);
  std::vector<T> dh_before(static_cast<std::size_t>(D), T(0));
  for (std::int64_t u = 0; u < D; ++u) {
    const auto j = static_cast<std::size_t>(u);
    T s[7];
    for (std::int64_t r = 0; r < 7; ++r) s[r] = *f.saved.at(b, t, head, r, u);
    const T i = s[0], forget = s[1], z = s[2], o = s[3], c = s[4], n = s[5];
    const T dh = (a.dh ? *a.dh.at(b, t, head, u) : T(0)) + d.h[j];
    const T dc = d.c[j] + dh * o / n, dn = d.n[j] - dh * o * c / (n * n);
    const T d_log_i = i * (z * dc + dn), d_log_f = forget * (before.c[j] * dc + before.n[j] * dn);
    const T to_m = d.m[j] - d_log_i - d_log_f;
    const bool from_input = i >= 1;  // m = p_i exactly when i = exp(0)
    const T dl = d_log_f + (from_input ? T(0) : to_m);
    const T dp[4] = {d_log_i + (from_input ? to_m : T(0)), dl * s[6], i * dc * (1 - z * z),
                     dh * c / n * o * (1 - o)};
    d.c[j] = forget * dc;
    d.n[j] = forget * dn;
    d.m[j] = dl;
    for (std::int64_t g = 0; g < 4; ++g) {
      *a.dx.at(b, t, head, g, u) = dp[g];
      if (a.db) *a.db.at(head, g, u) += dp[g];
      for (std::int64_t k = 0; k < D; ++k) {
        *a.dR.at(head, k, g, u) += before.h[static_cast<std::size_t>(k)] * dp[g];
        dh_before[static_cast<std::size_t>(k)] += *f.R.at(head, k, g, u) * dp[g];
      }
    }
  }
  d.h = dh_before;
}

template <class T>
void backward(const SlstmBackward<T>& a, ThreadPool&) {
  const auto& f = a.f;
  const std::int64_t D = f.R.dim(1);
  for (std::int64_t b = 0; b < f.x.dim(0); ++b) {
    for (std::int64_t head = 0; head < f.x.dim(2); ++head) {
      for (std::int64_t t = 0; t < f.x.dim(1); ++t) {
        for (std::int64_t g = 0; g < 4; ++g) std::fill_n(a.dx.at(b, t, head, g), D, T(0));
      }
      Units<T> d(D);
      load(d.h, a.dh_final, b, head);
      load(d.c, a.dc_final, b, head);
      load(d.n, a.dn_final, b, head);
      load(d.m, a.dm_final, b, head);
      const auto row = f.spans->row(b);
      for (std::size_t i = row.size(); i-- > 0;) {
        const Span& span = row[i];
        for (std::int64_t t = span.end; t-- > span.begin;) {
          Units<T> before(D);
          if (t > span.begin) {
            std::copy_n(f.h.at(b, t - 1, head), D, before.h.begin());
            std::copy_n(f.saved.at(b, t - 1, head, 4), D, before.c.begin());
            std::copy_n(f.saved.at(b, t - 1, head, 5), D, before.n.begin());
          } else if (!span.reset) {
            before =
                initial_units(f, b, head);  // only a row's first span continues the incoming state
          }
          step_backward(a, b, t, head, before, d);
        }
        if (span.reset) d = Units<T>(D);
      }
      store(d.h, a.dh_initial, b, head);
      store(d.c, a.dc_initial, b, head);
      store(d.n, a.dn_initial, b, head);
      store(d.m, a.dm_initial, b, head);
    }
  }
}

}  // namespace subquad::slstm_core_reference
