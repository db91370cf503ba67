// Options of mixers: bad values are refused by name; closed gates keep the reference finite.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/mixer/all_mixers.h"
#include "subquad/mixer/common/linear_core.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

TEST(MixerOptions, BadValuesAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"mlstm", R"({"output_gate":"slu"})"},
      {"mlstm", R"({"eps":-1.0})"},
      {"mlstm", R"({"gate_soft_cap":-3.0})"},
      {"mlstm", R"({"qk_factor":0.55})"},
      {"mlstm", R"({"v_factor":1e300})"},
      {"mlstm", R"({"conf":4})"},
      {"gated_deltanet", R"({"gate":"sigmiod"})"},
      {"gated_deltanet", R"({"write_range":5.0})"},
      {"mamba2", R"({"dt_low":1.0,"dt_high":0.1})"},
      {"mamba2", R"({"groups":3})"},
      {"slstm", R"({"forget_bias":"flat"})"},
      {"attention", R"({"rope_dims":3})"},
      {"attention", R"({"heads":4611686018427387904,"head_dim":4})"},
      {"attention", R"({"kv_heads":3})"},
      {"attention", R"({"head_dim":7})"},
      {"attention", R"({"rope_dims":12})"},
      {"attention", R"({"head_dim":0,"rope":false})"},
      {"attention", R"({"heads":0})"},
      {"attention", R"({"scale":-1.0})"},
      {"attention", R"({"rope_original_length":-1})"},
      {"attention", R"({"rope_low_frequency":4.0,"rope_high_frequency":4.0})"},
      {"mlstm", R"({"heads":0})"},
      {"slstm", R"({"heads":3})"},
      {"gated_deltanet", R"({"heads":0})"},
      {"mlstm", R"({"conv":"four"})"},
      {"gated_deltanet", R"({"decay_rank":4})"},
      {"gated_deltanet", R"({"gate_rank":-1})"},
      {"kda", R"({"decay":false})"},
      {"kda", R"({"tied_gates":true})"},
      {"kda", R"({"normalizer":true})"},
      {"latent_attention", R"({"latent":0})"},
      {"latent_attention", R"({"shared_dim":-2})"},
      {"latent_attention", R"({"rope":true})"}};
  for (const auto& [kind, options] : cases) {
    ParameterPlan plan;
    try {
      make_mixer(kind, {.d_model = 16, .heads = 2, .options = Json::parse(options, "test")}, plan);
      ADD_FAILURE() << kind << " accepted " << options;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    }
  }
}

TEST(MixerOptions, AttentionTakesAnyHeadSizeButNoneThatIsLeftOver) {
  const auto make = [](std::int64_t d, const char* options) {
    ParameterPlan plan;
    make_mixer("attention", {.d_model = d, .heads = 4, .options = Json::parse(options, "test")},
               plan);
  };
  EXPECT_NO_THROW(make(20, R"({"rope":false})"));                   // heads of 5
  EXPECT_NO_THROW(make(30, R"({"rope":false,"head_dim":7})"));      // no need to divide
  EXPECT_NO_THROW(make(30, R"({"head_dim":7,"rope_dims":6})"));     // the seventh is not rotated
  EXPECT_NO_THROW(make(20, R"({"rope":false,"rope_dims":1000})"));  // of no effect
  EXPECT_THROW(make(20, "{}"), Error);
  try {
    make(30, "{}");
    ADD_FAILURE() << "30 divided into 4 heads";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("30 does not divide into 4"), std::string::npos)
        << e.what();
  }
}

TEST(LinearCore, ClosedGatesKeepTheF32ReferenceGradientFinite) {
  KernelTable table;
  add_linear_core_reference(table);
  ThreadPool threads;
  for (const float gate : {-10.0F, -50.0F, -80.0F, -120.0F}) {
    const Shape s4{1, 5, 1, 4}, s3{1, 5, 1, 1};
    Tensor q(s4, DType::f32), k(s4, DType::f32), v(s4, DType::f32), d_o(s4, DType::f32),
        decay(s3, DType::f32), write(s3, DType::f32), m({1, 1}, DType::f32);
    for (std::int64_t i = 0; i < 20; ++i) {
      q.data<float>()[i] = std::sin(static_cast<float>(i));
      k.data<float>()[i] = std::cos(static_cast<float>(i));
      v.data<float>()[i] = d_o.data<float>()[i] = 1 + 0.1F * static_cast<float>(i);
    }
    std::fill_n(decay.data<float>(), 5, -40.0F);
    std::fill_n(write.data<float>(), 5, gate);
    m.data<float>()[0] = gate;
    const Tensor dq = nan_tensor(s4), dk = nan_tensor(s4), dv = nan_tensor(s4),
                 ddecay = nan_tensor(s3), dwrite = nan_tensor(s3);
    const Spans spans({}, 1, 5);
    LinearCoreBackward<float> b;
    b.f.q = q.view<const float, 4>();
    b.f.k = k.view<const float, 4>();
    b.f.v = v.view<const float, 4>();
    b.f.decay = decay.view<const float, 4>();
    b.f.write = write.view<const float, 4>();
    b.f.m_initial = m.view<const float, 2>();
    b.f.spans = &spans;
    b.f.options = {.exponential_input = true, .normalizer = true, .scale = 0.5, .eps = 1e-6};
    b.d_o = d_o.view<const float, 4>();
    b.dq = dq.view<float, 4>();
    b.dk = dk.view<float, 4>();
    b.dv = dv.view<float, 4>();
    b.ddecay = ddecay.view<float, 4>();
    b.dwrite = dwrite.view<float, 4>();
    table.run(b, threads);
    for (const Tensor& t : {dq, dk, dv, ddecay, dwrite}) {
      for (float x : t.host<float>()) EXPECT_TRUE(std::isfinite(x)) << "gate " << gate;
    }
    EXPECT_NE(dwrite.data<float>()[0], gate > -85 ? 0.0F : 1.0F) << "gate " << gate;
  }
}

}  // namespace
}  // namespace subquad
