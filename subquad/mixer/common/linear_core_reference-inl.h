// The literal recurrence of linear_core.h and its exact reverse-time derivative, through the
// read-out's denominator, through eps and through the stabiliser. Every state of a row is kept: for
// tests, gradient checks and for cases that no fast implementation accepts.
// A template on the scalar: f32 and f64 in the kernel list, a counting scalar in law L8's test.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/mixer/common/linear_core.h"

namespace subquad::linear_core_reference {

template <class T>
T channel(const View<const T, 4>& v, std::int64_t b, std::int64_t t, std::int64_t h,
          std::int64_t i) {
  return *v.at(b, t, h, v.dim(3) == 1 ? 0 : i);
}
template <class T>
T& channel(const View<T, 4>& v, std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t i) {
  return *v.at(b, t, h, v.dim(3) == 1 ? 0 : i);
}

// What one position leaves behind: the state after it, and the factors it was made with.
template <class T>
struct Step {
  std::int64_t t = 0;
  bool first_of_reset = false;  // the state before it is zero, and no gradient flows back
  std::vector<T> S, n;          // (Dk,Dv), (Dk)
  T m = 0;
  std::vector<T> a, e, w, u;  // decay (Dk), erase (Dk), write (Dv), written row (Dv)
};

// One (row, value head) of a problem.
template <class T>
class Head {
 public:
  Head(const LinearCoreForward<T>& f, std::int64_t b, std::int64_t h)
      : f_(f), b_(b), h_(h), hk_(h / (f.v.dim(2) / f.k.dim(2))), dk_(f.k.dim(3)), dv_(f.v.dim(3)) {
    initial_.S.assign(size(dk_ * dv_), T(0));
    initial_.n.assign(size(dk_), T(0));
    if (f.S_initial) std::copy_n(f.S_initial.at(b, h), dk_ * dv_, initial_.S.begin());
    if (f.n_initial) std::copy_n(f.n_initial.at(b, h), dk_, initial_.n.begin());
    if (f.m_initial) initial_.m = *f.m_initial.at(b, h);
    zero_ = initial_;
    std::fill(zero_.S.begin(), zero_.S.end(), T(0));
    std::fill(zero_.n.begin(), zero_.n.end(), T(0));
    zero_.m = 0;
    for (const Span& span : f.spans->row(b)) {
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        steps_.push_back(advance(t, span.reset && t == span.begin));
      }
    }
  }

  void write_outputs() const {
    for (const Step<T>& s : steps_) {
      const Read r = read(s);
      for (std::int64_t j = 0; j < dv_; ++j)
        *f_.o.at(b_, s.t, h_, j) = r.numerator[size(j)] / r.denominator;
    }
    const Step<T>& last = steps_.empty() ? initial_ : steps_.back();
    if (f_.S_final) std::copy(last.S.begin(), last.S.end(), f_.S_final.at(b_, h_));
    if (f_.n_final) std::copy(last.n.begin(), last.n.end(), f_.n_final.at(b_, h_));
    if (f_.m_final) *f_.m_final.at(b_, h_) = last.m;
  }

  void backward(const LinearCoreBackward<T>& g) const {
    std::vector<T> dS(size(dk_ * dv_), T(0)), dn(size(dk_), T(0));
    T dm = 0;
    if (g.dS_final) std::copy_n(g.dS_final.at(b_, h_), dk_ * dv_, dS.begin());
    if (g.dn_final) std::copy_n(g.dn_final.at(b_, h_), dk_, dn.begin());
    if (g.dm_final) dm = *g.dm_final.at(b_, h_);
    for (std::size_t i = steps_.size(); i-- > 0;) {
      read_backward(g, steps_[i], dS, dn, dm);
      const Step<T>& before = steps_[i].first_of_reset ? zero_ : i > 0 ? steps_[i - 1] : initial_;
      step_backward(g, steps_[i], before, dS, dn, dm);
      if (!steps_[i].first_of_reset) continue;
      std::fill(dS.begin(), dS.end(), T(0));
      std::fill(dn.begin(), dn.end(), T(0));
      dm = 0;
    }
    if (g.dS_initial) std::copy(dS.begin(), dS.end(), g.dS_initial.at(b_, h_));
    if (g.dn_initial) std::copy(dn.begin(), dn.end(), g.dn_initial.at(b_, h_));
    if (g.dm_initial) *g.dm_initial.at(b_, h_) = dm;
  }

 private:
  struct Read {
    std::vector<T> numerator;
    T denominator = 1;  // 1 without normalizer
    T n_q = 0;          // scale n·q
    T floor = 1;
  };

  static std::size_t size(std::int64_t i) { return static_cast<std::size_t>(i); }
  const T* q(std::int64_t t) const { return f_.q.at(b_, t, hk_); }
  const T* k(std::int64_t t) const { return f_.k.at(b_, t, hk_); }
  const T* v(std::int64_t t) const { return f_.v.at(b_, t, h_); }

  Step<T> advance(std::int64_t t, bool reset) const {
    const Step<T>& before = reset ? zero_ : steps_.empty() ? initial_ : steps_.back();
    const LinearCoreOptions& o = f_.options;
    Step<T> s;
    s.t = t;
    s.first_of_reset = reset;
    s.a.resize(size(dk_));
    s.e.assign(size(dk_), T(0));
    s.w.resize(size(dv_));
    if (o.exponential_input) {
      const T g = channel(f_.decay, b_, t, h_, 0), input = channel(f_.write, b_, t, h_, 0);
      s.m = std::max(g + before.m, input);
      std::fill(s.a.begin(), s.a.end(), std::exp(g + before.m - s.m));
      std::fill(s.w.begin(), s.w.end(), std::exp(input - s.m));
      if (o.erase) std::fill(s.e.begin(), s.e.end(), std::exp(input));
    } else {
      for (std::int64_t i = 0; i < dk_; ++i) {
        const T g = channel(f_.decay, b_, t, h_, i);
        s.a[size(i)] = o.signed_decay ? g : T(std::exp(g));
      }
      for (std::int64_t j = 0; j < dv_; ++j) s.w[size(j)] = channel(f_.write, b_, t, h_, j);
      if (o.erase) std::fill(s.e.begin(), s.e.end(), channel(f_.write, b_, t, h_, 0));
    }
    for (std::int64_t i = 0; o.erase && f_.erase && i < dk_; ++i)
      s.e[size(i)] = channel(f_.erase, b_, t, h_, i);
    s.S = before.S;
    s.u.resize(size(dv_));
    for (std::int64_t j = 0; j < dv_; ++j) s.u[size(j)] = s.w[size(j)] * v(t)[j];
    for (std::int64_t i = 0; i < dk_; ++i) {
      const T erased = o.erase ? s.e[size(i)] * k(t)[i] : T(0);
      for (std::int64_t j = 0; j < dv_; ++j) {
        T& x = s.S[size(i * dv_ + j)];
        x *= s.a[size(i)];
        if (o.erase) s.u[size(j)] -= erased * x;
      }
    }
    for (std::int64_t i = 0; i < dk_; ++i) {
      for (std::int64_t j = 0; j < dv_; ++j) s.S[size(i * dv_ + j)] += k(t)[i] * s.u[size(j)];
    }
    s.n.assign(size(dk_), T(0));
    for (std::int64_t i = 0; o.normalizer && i < dk_; ++i) {
      s.n[size(i)] = s.a[size(i)] * before.n[size(i)] + s.w[0] * k(t)[i];
    }
    return s;
  }

  Read read(const Step<T>& s) const {
    const LinearCoreOptions& o = f_.options;
    const T scale = static_cast<T>(o.scale);
    Read r;
    r.numerator.assign(size(dv_), T(0));
    for (std::int64_t i = 0; i < dk_; ++i) {
      const T x = scale * q(s.t)[i];
      for (std::int64_t j = 0; j < dv_; ++j) r.numerator[size(j)] += x * s.S[size(i * dv_ + j)];
      if (o.normalizer) r.n_q += x * s.n[size(i)];
    }
    if (o.normalizer) {
      r.floor = o.exponential_input ? T(std::exp(std::min<T>(-s.m, static_cast<T>(88)))) : T(1);
      r.denominator = std::max<T>(std::abs(r.n_q), r.floor) + static_cast<T>(o.eps);
    }
    return r;
  }

  // <d_o, o>
  T o_along(const T* d_o, const Read& r) const {
    T sum = 0;
    for (std::int64_t j = 0; j < dv_; ++j) sum += d_o[j] * (r.numerator[size(j)] / r.denominator);
    return sum;
  }

  void read_backward(const LinearCoreBackward<T>& g, const Step<T>& s, std::vector<T>& dS,
                     std::vector<T>& dn, T& dm) const {
    if (!g.d_o) return;
    const Read r = read(s);
    const T scale = static_cast<T>(f_.options.scale);
    const T* d_o = g.d_o.at(b_, s.t, h_);
    T d_n_q = 0;
    if (f_.options.normalizer) {
      T d_denominator = 0;  // with o = numerator / denominator: no square that could overflow
      for (std::int64_t j = 0; j < dv_; ++j) {
        d_denominator -= d_o[j] * (r.numerator[size(j)] / r.denominator) / r.denominator;
      }
      if (std::abs(r.n_q) > r.floor) {
        d_n_q = r.n_q > 0 ? d_denominator : -d_denominator;
      } else if (f_.options.exponential_input) {
        dm += o_along(d_o, r) * (r.floor / r.denominator);
      }
    }
    for (std::int64_t i = 0; i < dk_; ++i) {
      T dq = scale * d_n_q * s.n[size(i)];
      for (std::int64_t j = 0; j < dv_; ++j) {
        const T d_numerator = d_o[j] / r.denominator;
        dq += scale * d_numerator * s.S[size(i * dv_ + j)];
        dS[size(i * dv_ + j)] += scale * q(s.t)[i] * d_numerator;
      }
      dn[size(i)] += scale * d_n_q * q(s.t)[i];
      *g.dq.at(b_, s.t, hk_, i) += dq;
    }
  }

  // From the gradient of the state after a step to that of the state before it, in place.
  void step_backward(const LinearCoreBackward<T>& g, const Step<T>& s, const Step<T>& before,
                     std::vector<T>& dS, std::vector<T>& dn, T& dm) const {
    const LinearCoreOptions& o = f_.options;
    const std::int64_t t = s.t;
    std::vector<T> du(size(dv_), T(0)), da(size(dk_), T(0)), dw(size(dv_), T(0)),
        de(size(dk_), T(0));
    for (std::int64_t i = 0; i < dk_; ++i) {
      T dk = 0;
      for (std::int64_t j = 0; j < dv_; ++j) {
        du[size(j)] += dS[size(i * dv_ + j)] * k(t)[i];
        dk += dS[size(i * dv_ + j)] * s.u[size(j)];
      }
      *g.dk.at(b_, t, hk_, i) += dk;
    }
    for (std::int64_t j = 0; j < dv_; ++j) {
      *g.dv.at(b_, t, h_, j) = s.w[size(j)] * du[size(j)];
      dw[size(j)] += du[size(j)] * v(t)[j];
    }
    for (std::int64_t i = 0; i < dk_; ++i) {
      T d_ek = 0;  // gradient of e_i k_i
      for (std::int64_t j = 0; j < dv_; ++j) {
        const T decayed = s.a[size(i)] * before.S[size(i * dv_ + j)];
        T& d = dS[size(i * dv_ + j)];
        if (o.erase) {
          d_ek -= decayed * du[size(j)];
          d -= s.e[size(i)] * k(t)[i] * du[size(j)];
        }
        da[size(i)] += d * before.S[size(i * dv_ + j)];
        d *= s.a[size(i)];
      }
      if (o.erase) {
        *g.dk.at(b_, t, hk_, i) += s.e[size(i)] * d_ek;
        de[size(i)] += k(t)[i] * d_ek;
      }
      if (o.normalizer) {
        *g.dk.at(b_, t, hk_, i) += s.w[0] * dn[size(i)];
        dw[0] += k(t)[i] * dn[size(i)];
        da[size(i)] += dn[size(i)] * before.n[size(i)];
        dn[size(i)] *= s.a[size(i)];
      }
    }
    gates_backward(g, s, before, da, dw, de, dm);
  }

  void gates_backward(const LinearCoreBackward<T>& g, const Step<T>& s, const Step<T>& before,
                      const std::vector<T>& da, const std::vector<T>& dw, const std::vector<T>& de,
                      T& dm) const {
    const LinearCoreOptions& o = f_.options;
    const std::int64_t t = s.t;
    const bool own_erase = o.erase && f_.erase;
    T d_erase = 0;  // towards write, where it doubles as the erase strength
    for (std::int64_t i = 0; i < dk_; ++i) {
      if (own_erase) {
        channel(g.derase, b_, t, h_, i) += de[size(i)];
      } else {
        d_erase += de[size(i)];
      }
    }
    if (!o.exponential_input) {
      for (std::int64_t i = 0; i < dk_; ++i) {
        channel(g.ddecay, b_, t, h_, i) +=
            o.signed_decay ? da[size(i)] : s.a[size(i)] * da[size(i)];
      }
      for (std::int64_t j = 0; j < dv_; ++j) channel(g.dwrite, b_, t, h_, j) += dw[size(j)];
      channel(g.dwrite, b_, t, h_, 0) += d_erase;
      return;
    }
    T d_log_a = 0, d_log_w = 0;
    for (std::int64_t i = 0; i < dk_; ++i) d_log_a += s.a[size(i)] * da[size(i)];
    for (std::int64_t j = 0; j < dv_; ++j) d_log_w += s.w[size(j)] * dw[size(j)];
    // log a = decay + m_before - m,  log w = write - m,  m = max(decay + m_before, write)
    const T to_m = dm - d_log_a - d_log_w;
    const T decay = channel(f_.decay, b_, t, h_, 0), write = channel(f_.write, b_, t, h_, 0);
    const bool kept = decay + before.m >= write;
    channel(g.ddecay, b_, t, h_, 0) += d_log_a + (kept ? to_m : T(0));
    channel(g.dwrite, b_, t, h_, 0) += d_log_w + (kept ? T(0) : to_m) + std::exp(write) * d_erase;
    dm = d_log_a + (kept ? to_m : T(0));
  }

  const LinearCoreForward<T>& f_;
  std::int64_t b_, h_, hk_, dk_, dv_;
  Step<T> initial_, zero_;
  std::vector<Step<T>> steps_;
};

template <class T>
void zero(const View<T, 4>& v) {
  if (!v) return;
  for (std::int64_t b = 0; b < v.dim(0); ++b) {
    for (std::int64_t t = 0; t < v.dim(1); ++t) {
      for (std::int64_t h = 0; h < v.dim(2); ++h) std::fill_n(v.at(b, t, h), v.dim(3), T(0));
    }
  }
}

template <class T>
void forward(const LinearCoreForward<T>& f, ThreadPool&) {
  zero(f.o);
  for (std::int64_t b = 0; b < f.v.dim(0); ++b) {
    for (std::int64_t h = 0; h < f.v.dim(2); ++h) Head<T>(f, b, h).write_outputs();
  }
}

template <class T>
void backward(const LinearCoreBackward<T>& g, ThreadPool&) {
  for (const auto& v : {g.dq, g.dk, g.dv, g.ddecay, g.dwrite, g.derase}) zero(v);
  for (std::int64_t b = 0; b < g.f.v.dim(0); ++b) {
    for (std::int64_t h = 0; h < g.f.v.dim(2); ++h) Head<T>(g.f, b, h).backward(g);
  }
}

}  // namespace subquad::linear_core_reference
