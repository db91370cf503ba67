// The literal definitions of the pointwise and normalisation kernels.
#include <algorithm>
#include <vector>

#include "subquad/backend/norm.h"
#include "subquad/backend/reference/reference.h"
#include "subquad/backend/reference/scalar_math.h"

namespace subquad {
namespace {

using reference::slope;
using reference::value;

template <class T>
void unary_forward(const UnaryForward<T>& a, ThreadPool&) {
  for (std::int64_t i = 0; i < a.x.dim(0); ++i) *a.y.at(i) = value(a.kind, *a.x.at(i));
}

template <class T>
void unary_backward(const UnaryBackward<T>& a, ThreadPool&) {
  for (std::int64_t i = 0; i < a.x.dim(0); ++i)
    *a.dx.at(i) = *a.dy.at(i) * slope(a.kind, *a.x.at(i));
}

template <class T>
void gated_forward(const GatedForward<T>& a, ThreadPool&) {
  for (std::int64_t n = 0; n < a.y.dim(0); ++n) {
    for (std::int64_t i = 0; i < a.y.dim(1); ++i) {
      *a.y.at(n, i) = value(a.kind, *a.gate.at(n, i)) * *a.x.at(n, i);
    }
  }
}

template <class T>
void gated_backward(const GatedBackward<T>& a, ThreadPool&) {
  for (std::int64_t n = 0; n < a.dy.dim(0); ++n) {
    for (std::int64_t i = 0; i < a.dy.dim(1); ++i) {
      const T g = *a.gate.at(n, i), x = *a.x.at(n, i), dy = *a.dy.at(n, i);
      *a.dgate.at(n, i) = dy * x * slope(a.kind, g);
      *a.dx.at(n, i) = dy * value(a.kind, g);
    }
  }
}

// Mean and reciprocal deviation of one part of a row.
template <class T>
struct Moments {
  T mean = 0, r = 0;
};
template <class T>
Moments<T> moments(const NormSetup& s, const T* x, std::int64_t n) {
  Moments<T> m;
  if (s.center) {
    for (std::int64_t i = 0; i < n; ++i) m.mean += x[i];
    m.mean /= static_cast<T>(n);
  }
  T square = 0;
  for (std::int64_t i = 0; i < n; ++i) square += (x[i] - m.mean) * (x[i] - m.mean);
  if (!s.sum_not_mean) square /= static_cast<T>(n);
  m.r = 1 / std::sqrt(square + static_cast<T>(s.eps));
  return m;
}

// Index of a weight for channel i of part g: w may be (C) or shared by the parts (C/groups).
template <class T>
std::int64_t weight_index(const View<T, 1>& w, std::int64_t g, std::int64_t part, std::int64_t i) {
  return w.dim(0) == part ? i : g * part + i;
}

template <class T>
void norm_forward(const NormForward<T>& a, ThreadPool&) {
  const std::int64_t part = a.x.dim(1) / a.setup.groups;
  for (std::int64_t n = 0; n < a.x.dim(0); ++n) {
    for (std::int64_t g = 0; g < a.setup.groups; ++g) {
      const T* x = a.x.at(n, g * part);
      const Moments<T> m = moments(a.setup, x, part);
      for (std::int64_t i = 0; i < part; ++i) {
        T y = (x[i] - m.mean) * m.r;
        if (a.w) y *= *a.w.at(weight_index(a.w, g, part, i)) + (a.setup.plus_one ? T(1) : T(0));
        if (a.b) y += *a.b.at(weight_index(a.b, g, part, i));
        *a.y.at(n, g * part + i) = y;
      }
    }
  }
}

template <class T>
void norm_backward(const NormBackward<T>& a, ThreadPool&) {
  const std::int64_t part = a.x.dim(1) / a.setup.groups;
  std::vector<T> dhat(static_cast<std::size_t>(part));
  for (std::int64_t n = 0; n < a.x.dim(0); ++n) {
    for (std::int64_t g = 0; g < a.setup.groups; ++g) {
      const T* x = a.x.at(n, g * part);
      const T* dy = a.dy.at(n, g * part);
      const Moments<T> m = moments(a.setup, x, part);
      T along = 0, sum = 0;  // of dhat with x hat, and of dhat
      for (std::int64_t i = 0; i < part; ++i) {
        const T hat = (x[i] - m.mean) * m.r;
        T d = dy[i];
        if (a.w) {
          const std::int64_t j = weight_index(a.w, g, part, i);
          *a.dw.at(j) += d * hat;
          if (a.db) *a.db.at(j) += d;
          d *= *a.w.at(j) + (a.setup.plus_one ? T(1) : T(0));
        }
        dhat[static_cast<std::size_t>(i)] = d;
        along += d * hat;
        sum += d;
      }
      const T scale = a.setup.sum_not_mean ? T(1) : 1 / static_cast<T>(part);
      for (std::int64_t i = 0; i < part; ++i) {
        const T hat = (x[i] - m.mean) * m.r;
        const T centered =
            dhat[static_cast<std::size_t>(i)] - (a.setup.center ? sum * scale : T(0));
        *a.dx.at(n, g * part + i) = m.r * (centered - hat * along * scale);
      }
    }
  }
}

template <class T>
T root(const T* v, std::int64_t n, double eps) {
  T square = 0;
  for (std::int64_t i = 0; i < n; ++i) square += v[i] * v[i];
  return 1 / std::sqrt(square / static_cast<T>(n) + static_cast<T>(eps));
}

template <class T>
void gated_norm_forward(const GatedNormForward<T>& a, ThreadPool&) {
  const std::int64_t part = a.x.dim(1) / a.groups;
  std::vector<T> v(static_cast<std::size_t>(part));
  for (std::int64_t n = 0; n < a.x.dim(0); ++n) {
    for (std::int64_t g = 0; g < a.groups; ++g) {
      const T* x = a.x.at(n, g * part);
      const T* z = a.z.at(n, g * part);
      T* y = a.y.at(n, g * part);
      for (std::int64_t i = 0; i < part; ++i) {
        v[static_cast<std::size_t>(i)] = a.gate_first ? x[i] * value(a.activation, z[i]) : x[i];
      }
      const T r = root(v.data(), part, a.eps);
      for (std::int64_t i = 0; i < part; ++i) {
        y[i] = v[static_cast<std::size_t>(i)] * r * *a.w.at(weight_index(a.w, g, part, i)) *
               (a.gate_first ? T(1) : value(a.activation, z[i]));
      }
    }
  }
}

template <class T>
void gated_norm_backward(const GatedNormBackward<T>& a, ThreadPool&) {
  const auto& f = a.f;
  const std::int64_t part = f.x.dim(1) / f.groups;
  std::vector<T> v(static_cast<std::size_t>(part)), dhat(static_cast<std::size_t>(part));
  for (std::int64_t n = 0; n < f.x.dim(0); ++n) {
    for (std::int64_t g = 0; g < f.groups; ++g) {
      const T* x = f.x.at(n, g * part);
      const T* z = f.z.at(n, g * part);
      const T* dy = a.dy.at(n, g * part);
      T* dx = a.dx.at(n, g * part);
      T* dz = a.dz.at(n, g * part);
      for (std::int64_t i = 0; i < part; ++i) {
        v[static_cast<std::size_t>(i)] = f.gate_first ? x[i] * value(f.activation, z[i]) : x[i];
      }
      const T r = root(v.data(), part, f.eps);
      T along = 0;
      for (std::int64_t i = 0; i < part; ++i) {
        const auto u = static_cast<std::size_t>(i);
        const std::int64_t j = weight_index(f.w, g, part, i);
        const T hat = v[u] * r, gate = f.gate_first ? T(1) : value(f.activation, z[i]);
        if (!f.gate_first) dz[i] = dy[i] * hat * *f.w.at(j) * slope(f.activation, z[i]);
        *a.dw.at(j) += dy[i] * gate * hat;
        dhat[u] = dy[i] * gate * *f.w.at(j);
        along += dhat[u] * hat;
      }
      along /= static_cast<T>(part);
      for (std::int64_t i = 0; i < part; ++i) {
        const auto u = static_cast<std::size_t>(i);
        const T dv = r * (dhat[u] - v[u] * r * along);
        dx[i] = f.gate_first ? dv * value(f.activation, z[i]) : dv;
        if (f.gate_first) dz[i] = dv * x[i] * slope(f.activation, z[i]);
      }
    }
  }
}

template <class T>
void sum(const Sum<T>& a, ThreadPool&) {
  for (std::int64_t i = 0; i < a.y.dim(0); ++i) *a.y.at(i) = *a.a.at(i) + *a.b.at(i);
}

template <class T>
void product(const Product<T>& a, ThreadPool&) {
  for (std::int64_t i = 0; i < a.y.dim(0); ++i) *a.y.at(i) = *a.a.at(i) * *a.b.at(i);
}

template <class T>
void skip_forward(const SkipForward<T>& a, ThreadPool&) {
  const std::int64_t width = a.x.dim(1) / a.D.dim(0);
  for (std::int64_t n = 0; n < a.x.dim(0); ++n) {
    for (std::int64_t i = 0; i < a.x.dim(1); ++i)
      *a.out.at(n, i) = *a.y.at(n, i) + *a.D.at(i / width) * *a.x.at(n, i);
  }
}

template <class T>
void skip_backward(const SkipBackward<T>& a, ThreadPool&) {
  const std::int64_t width = a.x.dim(1) / a.D.dim(0);
  for (std::int64_t n = 0; n < a.x.dim(0); ++n) {
    for (std::int64_t i = 0; i < a.x.dim(1); ++i) {
      *a.dD.at(i / width) += *a.dout.at(n, i) * *a.x.at(n, i);
      *a.dx.at(n, i) = *a.D.at(i / width) * *a.dout.at(n, i);
    }
  }
}

template <class T>
void add(KernelTable& table) {
  table.add(Impl<Sum<T>>{"reference", nullptr, sum<T>});
  table.add(Impl<Product<T>>{"reference", nullptr, product<T>});
  table.add(Impl<SkipForward<T>>{"reference", nullptr, skip_forward<T>});
  table.add(Impl<SkipBackward<T>>{"reference", nullptr, skip_backward<T>});
  table.add(Impl<UnaryForward<T>>{"reference", nullptr, unary_forward<T>});
  table.add(Impl<UnaryBackward<T>>{"reference", nullptr, unary_backward<T>});
  table.add(Impl<GatedForward<T>>{"reference", nullptr, gated_forward<T>});
  table.add(Impl<GatedBackward<T>>{"reference", nullptr, gated_backward<T>});
  table.add(Impl<NormForward<T>>{"reference", nullptr, norm_forward<T>});
  table.add(Impl<NormBackward<T>>{"reference", nullptr, norm_backward<T>});
  table.add(Impl<GatedNormForward<T>>{"reference", nullptr, gated_norm_forward<T>});
  table.add(Impl<GatedNormBackward<T>>{"reference", nullptr, gated_norm_backward<T>});
}

}  // namespace

void add_pointwise_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
