// mLSTM, Mamba-2, (Gated) DeltaNet, KDA and GDN-2 cores: one recurrence, many files.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "subquad/backend/reference/scalar_math.h"
#include "subquad/mixer/common/linear_core.h"
#include "tests/golden/golden.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

Tensor rank4(const Tensor& t) {
  return !t || t.shape().rank == 4 ? t : t.reshaped({t.shape()[0], t.shape()[1], t.shape()[2], 1});
}

// A file as a linear_core problem. Gate values derived from the file's inputs are formed in f64.
template <class T>
struct Problem {
  const Golden& g;
  DType dtype = dtype_of<T>();
  LinearCoreForward<T> f{};
  LinearCoreBackward<T> b{};
  std::deque<Tensor> keep;  // stable addresses
  std::int64_t batch = 0, length = 0, heads = 0;
  Tensor q, k, v, decay, write, erase, d_o;
  Tensor o, S, n, m, dq, dk, dv, ddecay, dwrite, derase, dS, dn, dm;
  Spans spans;

  explicit Problem(const Golden& golden)
      : g(golden),
        batch(g.size("B")),
        length(g.size("T")),
        heads(g.size("H")),
        spans({}, batch, length) {
    if (g.mixer().starts_with("mlstm")) {
      read_mlstm();
    } else if (g.mixer() == "mamba2") {
      read_mamba2();
    } else {
      read_delta();
    }
    f.q = q.template view<const T, 4>();
    f.k = k.template view<const T, 4>();
    f.v = v.template view<const T, 4>();
    f.decay = decay.template view<const T, 4>();
    f.write = write.template view<const T, 4>();
    f.erase = erase.template view<const T, 4>();
    f.spans = &spans;
    f.S_initial = hold(g.input("S_initial", dtype)).template view<const T, 4>();
    f.n_initial = hold(g.input("n_initial", dtype)).template view<const T, 3>();
    f.m_initial = hold(g.input("m_initial", dtype)).template view<const T, 2>();
    const std::int64_t dk_ = q.shape()[3], dv_ = v.shape()[3];
    o = nan_tensor(v.shape(), dtype);
    S = nan_tensor({batch, heads, dk_, dv_}, dtype);
    n = nan_tensor({batch, heads, dk_}, dtype);
    m = nan_tensor({batch, heads}, dtype);
    f.o = o.template view<T, 4>();
    f.S_final = S.template view<T, 4>();
    if (f.options.normalizer) f.n_final = n.template view<T, 3>();
    if (f.options.exponential_input) f.m_final = m.template view<T, 2>();
    dq = nan_tensor(q.shape(), dtype);
    dk = nan_tensor(k.shape(), dtype);
    dv = nan_tensor(v.shape(), dtype);
    ddecay = nan_tensor(decay.shape(), dtype);
    dwrite = nan_tensor(write.shape(), dtype);
    if (erase) derase = nan_tensor(erase.shape(), dtype);
    dS = nan_tensor(S.shape(), dtype);
    dn = nan_tensor(n.shape(), dtype);
    dm = nan_tensor(m.shape(), dtype);
  }

  const Tensor& hold(Tensor t) { return keep.emplace_back(std::move(t)); }
  Tensor map(const Tensor& x, double (*fn)(double)) {
    const Tensor y(x.shape(), dtype);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      y.data<T>()[i] = static_cast<T>(fn(static_cast<double>(x.data<T>()[i])));
    }
    return y;
  }

  void read_mlstm() {
    q = g.input("q", dtype);
    k = g.input("k", dtype);
    v = g.input("v", dtype);
    d_o = g.input("do", dtype);
    decay = rank4(map(g.input("gate_f", dtype), reference::log_sigmoid<double>));
    const bool exponential = g.mixer() == "mlstm";
    write = rank4(exponential ? g.input("gate_i", dtype)
                              : map(g.input("gate_i", dtype), reference::sigmoid<double>));
    f.options = {.exponential_input = exponential,
                 .normalizer = exponential || g.sizes().at("normalize").as_bool(),
                 .scale = 1 / std::sqrt(static_cast<double>(q.shape()[3])),
                 .eps = g.number("eps")};
  }

  void read_delta() {
    q = g.input("q", dtype);
    k = g.input("k", dtype);
    v = g.input("v", dtype);
    d_o = g.input("do", dtype);
    decay = rank4(g.input("log_decay", dtype));
    write = rank4(g.input("write", dtype));
    erase = rank4(g.input("erase_gate", dtype));
    f.options.erase = g.sizes().at("kind").as_string() != "gla";
  }

  void read_mamba2() {
    q = g.input("C", dtype);
    k = g.input("B", dtype);
    v = g.input("x", dtype);
    d_o = g.input("dy", dtype);
    write = rank4(g.input("dt", dtype));
    const Tensor A = g.input("A", dtype);
    f.options.signed_decay = g.sizes().at("negative").as_bool();
    decay = Tensor(write.shape(), dtype);
    for (std::int64_t i = 0; i < write.numel(); ++i) {
      const double log_decay =
          static_cast<double>(write.data<T>()[i]) * static_cast<double>(A.data<T>()[i % heads]);
      decay.data<T>()[i] =
          static_cast<T>(f.options.signed_decay ? 2 * std::exp(log_decay) - 1 : log_decay);
    }
  }

  void run(const Impl<LinearCoreForward<T>>& forward, const Impl<LinearCoreBackward<T>>& backward,
           ThreadPool& threads) {
    forward.run(f, threads);
    b = {};
    b.f = f;
    b.d_o = d_o.template view<const T, 4>();
    b.dS_final = hold(g.input("dS_final", dtype)).template view<const T, 4>();
    b.dn_final = hold(g.input("dn_final", dtype)).template view<const T, 3>();
    if (f.options.exponential_input) {
      b.dm_final = hold(g.input("dm_final", dtype)).template view<const T, 2>();
    }
    b.dq = dq.template view<T, 4>();
    b.dk = dk.template view<T, 4>();
    b.dv = dv.template view<T, 4>();
    b.ddecay = ddecay.template view<T, 4>();
    b.dwrite = dwrite.template view<T, 4>();
    b.derase = derase.template view<T, 4>();
    b.dS_initial = dS.template view<T, 4>();
    if (f.options.normalizer) b.dn_initial = dn.template view<T, 3>();
    if (f.options.exponential_input) b.dm_initial = dm.template view<T, 2>();
    backward.run(b, threads);
  }

  void compare() {
    if (g.has("S_initial")) g.expect("dS_initial", dS);
    g.expect("S_final", S);
    if (g.mixer() == "mamba2") {
      compare_mamba2();
      return;
    }
    g.expect("o", o);
    g.expect("dq", dq);
    g.expect("dk", dk);
    g.expect("dv", dv);
    if (g.mixer().starts_with("mlstm")) {
      compare_mlstm();
      return;
    }
    g.expect("dlog_decay", ddecay);
    g.expect("dwrite", dwrite);
    if (erase) g.expect("derase_gate", derase);
  }

  void compare_mlstm() {
    const Tensor gate_f = g.input("gate_f", dtype), gate_i = g.input("gate_i", dtype);
    const Tensor df(gate_f.shape(), dtype), di(gate_i.shape(), dtype);
    for (std::int64_t i = 0; i < df.numel(); ++i) {
      df.data<T>()[i] = ddecay.data<T>()[i] * reference::sigmoid(-gate_f.data<T>()[i]);
      const T s = reference::sigmoid(gate_i.data<T>()[i]),
              c = reference::sigmoid(-gate_i.data<T>()[i]);
      di.data<T>()[i] = dwrite.data<T>()[i] * (f.options.exponential_input ? T(1) : s * c);
    }
    if (f.options.normalizer) g.expect("n_final", n);
    if (f.options.exponential_input) g.expect("m_final", m);
    // Through the denominator and the stabiliser, as finite differences see it.
    g.expect("dgate_i", di);
    g.expect("dgate_f", df);
    if (g.has("n_initial") && f.options.normalizer) g.expect("dn_initial", dn);
    if (g.has("m_initial")) g.expect("dm_initial", dm);
  }

  void compare_mamba2() {
    const Tensor A = g.input("A", dtype), D = g.input("D_skip", dtype);
    const std::int64_t P = v.shape()[3];
    const Tensor y = o.clone(), dx = dv.clone(), ddt = dwrite.clone();
    const Tensor dA = Tensor::zeros({heads}, dtype), dD = Tensor::zeros({heads}, dtype);
    for (std::int64_t i = 0; i < ddt.numel(); ++i) {
      const std::int64_t h = i % heads;
      const T dt = write.data<T>()[i], a = A.data<T>()[h];
      T d = ddecay.data<T>()[i];
      if (f.options.signed_decay) d *= 2 * std::exp(dt * a);
      ddt.data<T>()[i] += a * d;
      dA.data<T>()[h] += dt * d;
      for (std::int64_t p = 0; p < P; ++p) {
        const std::int64_t j = i * P + p;
        const T skip = D ? D.data<T>()[h] : T(0);
        y.data<T>()[j] += skip * v.data<T>()[j];
        dx.data<T>()[j] += skip * d_o.data<T>()[j];
        dD.data<T>()[h] += v.data<T>()[j] * d_o.data<T>()[j];
      }
    }
    g.expect("y", y);
    g.expect("dx", dx);
    g.expect("dB", dk);
    g.expect("dC", dq);
    g.expect("ddt", ddt);
    g.expect("dA", dA);
    if (D) g.expect("dD_skip", dD);
  }
};

template <class T>
void compare_all(const Golden& golden, const KernelTable& table, int& fast) {
  ThreadPool threads(2);
  const auto& forwards = table.all<LinearCoreForward<T>>();
  const auto& backwards = table.all<LinearCoreBackward<T>>();
  const Problem<T> probe(golden);
  for (const auto& forward : forwards) {
    if (forward.accepts && !forward.accepts(probe.f)) continue;
    for (const auto& backward : backwards) {
      Problem<T> p(golden);
      LinearCoreBackward<T> args;
      args.f = p.f;
      if (backward.accepts && !backward.accepts(args)) continue;
      if ((forward.name == "reference") != (backward.name == "reference")) continue;
      p.run(forward, backward, threads);
      SCOPED_TRACE(golden.name() + " " + std::string(forward.name) + "/" +
                   std::string(backward.name));
      p.compare();
      if (forward.name != "reference") ++fast;
    }
  }
}

TEST(GoldenLinearCore, EveryImplementationEqualsThePublishedOnes) {
  KernelTable table;
  add_linear_core_cpu(table);
  add_linear_core_reference(table);
  int fast = 0;
  const auto files = golden_files({"mlstm_", "gdn_", "gdn2_", "deltanet_", "kda_", "mamba2_"},
                                  {"gdn_layer_", "mamba2_mixer"});
  ASSERT_GE(files.size(), 20U);
  for (const std::string& path : files) {
    const Golden golden(path);
    int unused = 0;
    compare_all<double>(golden, table, unused);
    compare_all<float>(golden, table, fast);
  }
  EXPECT_GE(fast, 30);
}

}  // namespace
}  // namespace subquad
