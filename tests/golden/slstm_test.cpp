#include <gtest/gtest.h>

#include <deque>

#include "subquad/mixer/slstm/core.h"
#include "tests/golden/golden.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

// gate_* (B,T,H,D) x4 -> x (B,T,H,4,D).
Tensor interleave(const Golden& g, const std::string& prefix, DType dtype) {
  const std::int64_t n = g.size("B") * g.size("T") * g.size("H"), D = g.size("D");
  Tensor x({g.size("B"), g.size("T"), g.size("H"), 4, D}, dtype);
  const char* names[] = {"gate_i", "gate_f", "gate_z", "gate_o"};
  with_scalar(dtype, [&]<class T>() {
    for (std::int64_t gate = 0; gate < 4; ++gate) {
      const Tensor part = g.input(prefix + names[gate], dtype);
      for (std::int64_t i = 0; i < n; ++i) {
        std::copy_n(part.data<T>() + i * D, D, x.data<T>() + (i * 4 + gate) * D);
      }
    }
  });
  return x;
}

template <class T>
Tensor gate_of(const Tensor& dx, std::int64_t gate) {
  const std::int64_t D = dx.shape()[4], n = dx.numel() / (4 * D);
  Tensor part({dx.shape()[0], dx.shape()[1], dx.shape()[2], D}, dx.dtype());
  for (std::int64_t i = 0; i < n; ++i)
    std::copy_n(dx.data<T>() + (i * 4 + gate) * D, D, part.data<T>() + i * D);
  return part;
}

template <class T>
void compare(const Golden& g, const Impl<SlstmForward<T>>& forward,
             const Impl<SlstmBackward<T>>& backward) {
  SCOPED_TRACE(g.name() + " " + std::string(forward.name));
  constexpr DType dtype = dtype_of<T>();
  ThreadPool threads(2);
  std::deque<Tensor> keep;
  const auto in3 = [&](const std::string& name) {
    return keep.emplace_back(g.input(name, dtype)).template view<const T, 3>();
  };
  const std::int64_t B = g.size("B"), L = g.size("T"), H = g.size("H"), D = g.size("D");
  const Spans spans({}, B, L);
  const Tensor x = interleave(g, "", dtype), R = g.input("R", dtype), b = g.input("b", dtype);
  const Tensor h = nan_tensor({B, L, H, D}, dtype), saved = nan_tensor({B, L, H, 7, D}, dtype);
  std::vector<Tensor> final_state(4), d_initial(4);
  for (int i = 0; i < 4; ++i) {
    final_state[i] = nan_tensor({B, H, D}, dtype);
    d_initial[i] = nan_tensor({B, H, D}, dtype);
  }
  SlstmForward<T> f;
  f.x = x.view<const T, 5>();
  f.R = R.view<const T, 4>();
  f.b = b.view<const T, 3>();
  f.h_initial = in3("h_initial");
  f.c_initial = in3("c_initial");
  f.n_initial = in3("n_initial");
  f.m_initial = in3("m_initial");
  f.spans = &spans;
  f.exponential_forget = g.sizes().at("forget").as_string() == "exp";
  f.h = h.view<T, 4>();
  f.h_final = final_state[0].view<T, 3>();
  f.c_final = final_state[1].view<T, 3>();
  f.n_final = final_state[2].view<T, 3>();
  f.m_final = final_state[3].view<T, 3>();
  f.saved = saved.view<T, 5>();
  if (forward.accepts && !forward.accepts(f)) return;
  forward.run(f, threads);
  g.expect("h", h);
  g.expect("h_final", final_state[0]);
  g.expect("c_final", final_state[1]);
  g.expect("n_final", final_state[2]);
  g.expect("m_final", final_state[3]);

  const Tensor dx = nan_tensor(x.shape(), dtype), dR = Tensor::zeros(R.shape(), dtype),
               db = Tensor::zeros(b.shape(), dtype);
  const Tensor dh = g.input("dh", dtype);
  SlstmBackward<T> a;
  a.f = f;
  a.dh = dh.view<const T, 4>();
  a.dh_final = in3("dh_final");
  a.dc_final = in3("dc_final");
  a.dn_final = in3("dn_final");
  a.dm_final = in3("dm_final");
  a.dx = dx.view<T, 5>();
  a.dR = dR.view<T, 4>();
  a.db = db.view<T, 3>();
  a.dh_initial = d_initial[0].view<T, 3>();
  a.dc_initial = d_initial[1].view<T, 3>();
  a.dn_initial = d_initial[2].view<T, 3>();
  a.dm_initial = d_initial[3].view<T, 3>();
  backward.run(a, threads);
  g.expect("dgate_i", gate_of<T>(dx, 0));
  g.expect("dgate_f", gate_of<T>(dx, 1));
  g.expect("dgate_z", gate_of<T>(dx, 2));
  g.expect("dgate_o", gate_of<T>(dx, 3));
  g.expect("dR", dR);
  g.expect("db", db);
  const char* names[] = {"dh_initial", "dc_initial", "dn_initial", "dm_initial"};
  for (std::size_t i = 0; i < 4; ++i) {
    if (g.has(names[i])) g.expect(names[i], d_initial[i]);
  }
}

TEST(GoldenSlstm, EveryImplementationEqualsThePublishedOnes) {
  KernelTable table;
  add_slstm_core_cpu(table);
  add_slstm_core_reference(table);
  const auto files = golden_files({"slstm_"}, {"slstm_layouts"});
  ASSERT_GE(files.size(), 8U);
  for (const std::string& path : files) {
    const Golden g(path);
    compare<double>(g, table.all<SlstmForward<double>>()[0], table.all<SlstmBackward<double>>()[0]);
    for (std::size_t i = 0; i < table.all<SlstmForward<float>>().size(); ++i) {
      compare<float>(g, table.all<SlstmForward<float>>()[i], table.all<SlstmBackward<float>>()[i]);
    }
  }
}

// R and b as other code bases store them: the index maps that an importer needs.
TEST(GoldenSlstm, StoredLayouts) {
  for (const std::string& path : golden_files({"slstm_layouts"})) {
    const Golden g(path);
    const Tensor R = g.input("R", DType::f32), b = g.input("b", DType::f32);
    const std::int64_t H = g.size("H"), D = g.size("D");
    const Tensor vanilla = g.input("R.xlstm_vanilla", DType::f32),
                 cuda = g.input("R.xlstm_cuda", DType::f32);
    const Tensor flash = g.input("R.flashrnn_ghdp", DType::f32),
                 tirex = g.input("R.tirex2_hpgd", DType::f32);
    const Tensor b_vanilla = g.input("b.xlstm_vanilla", DType::f32),
                 b_flash = g.input("b.flashrnn", DType::f32);
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t gate = 0; gate < 4; ++gate) {
        for (std::int64_t o = 0; o < D; ++o) {
          for (std::int64_t d = 0; d < D; ++d) {
            const float r = R.data<float>()[((h * D + d) * 4 + gate) * D + o];
            EXPECT_EQ(vanilla.data<float>()[(h * 4 * D + gate * D + o) * D + d], r);
            EXPECT_EQ(cuda.data<float>()[(h * D + d) * 4 * D + gate * D + o], r);
            EXPECT_EQ(flash.data<float>()[((gate * H + h) * D + o) * D + d], r);
            EXPECT_EQ(tirex.data<float>()[((h * D + d) * 4 + gate) * D + o], r);
          }
          const float bias = b.data<float>()[(h * 4 + gate) * D + o];
          EXPECT_EQ(b_vanilla.data<float>()[(gate * H + h) * D + o], bias);
          EXPECT_EQ(b_flash.data<float>()[(gate * H + h) * D + o], bias);
        }
      }
    }
  }
}

}  // namespace
}  // namespace subquad
