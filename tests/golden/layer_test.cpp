// Attention, Gated DeltaNet and Mamba-2 layers as published packages compute them.
#include "tests/golden/layer.h"

#include <gtest/gtest.h>

#include <numeric>

namespace subquad {
namespace {

std::vector<std::int64_t> range(std::int64_t from, std::int64_t count) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), from);
  return rows;
}
void append(std::vector<std::int64_t>& to, const std::vector<std::int64_t>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

TEST(GoldenLayers, Attention) {
  const auto files = golden_files({"attention_layer_"});
  ASSERT_GE(files.size(), 4U);
  for (const std::string& path : files) {
    const Golden g(path);
    const std::int64_t Hq = g.size("Hq"), D = g.size("head_dim");
    const bool gate = g.input("w.q_proj.weight", DType::f32).shape()[0] == 2 * Hq * D,
               norms = g.has("w.q_norm.weight");
    LayerCase layer{"attention", Json::object(), g.size("D"), Hq, {}, {}};
    layer.options["kv_heads"] = g.size("Hkv");
    layer.options["head_dim"] = D;
    layer.options["window"] = g.size("window");
    layer.options["rope_dims"] = g.size("rotary");
    layer.options["rope_theta"] = g.number("theta");
    layer.options["qk_norm"] = norms;
    layer.options["qk_norm_plus_one"] = gate;  // Qwen3-Next stores w - 1
    layer.options["output_gate"] = gate;
    Mapping in{"in_proj.weight", {}};
    if (gate) {  // rows per head q | gate
      std::vector<std::int64_t> q, z;
      for (std::int64_t h = 0; h < Hq; ++h) {
        append(q, range(2 * h * D, D));
        append(z, range((2 * h + 1) * D, D));
      }
      in.parts = {
          {"w.q_proj.weight", q}, {"w.k_proj.weight"}, {"w.v_proj.weight"}, {"w.q_proj.weight", z}};
    } else {
      in.parts = {{"w.q_proj.weight"}, {"w.k_proj.weight"}, {"w.v_proj.weight"}};
    }
    layer.mappings = {in, {"out_proj.weight", {{"w.o_proj.weight"}}}};
    if (norms) {
      layer.mappings.push_back({"q_norm.weight", {{"w.q_norm.weight"}}});
      layer.mappings.push_back({"k_norm.weight", {{"w.k_norm.weight"}}});
    }
    compare_layer(g, layer);
  }
}

TEST(GoldenLayers, GatedDeltaNet) {
  const auto files = golden_files({"gdn_layer_"});
  ASSERT_GE(files.size(), 6U);
  for (const std::string& path : files) {
    const Golden g(path);
    const bool fla = g.name().starts_with("gdn_layer_fla");
    const std::int64_t H = g.size(fla ? "H" : "Hk"), HV = g.size("HV"), K = g.size("K"),
                       V = g.size("V"), R = HV / H;
    LayerCase layer{"gated_deltanet", Json::object(), g.size("D"), H, {}, {}};
    layer.options["value_heads"] = HV;
    layer.options["head_dim"] = K;
    layer.options["value_dim"] = V;
    layer.options["norm_eps"] = g.number("eps");
    Mapping in{"in_proj.weight", {}};
    if (fla) {
      const std::string gate = g.sizes().at("gate").as_string();
      layer.options["output_gate"] = gate != "none";
      layer.options["gate"] = gate == "sigmoid" ? "sigmoid" : "silu";
      layer.options["conv_bias"] = g.sizes().at("conv_bias").as_bool();
      layer.options["write_range"] = g.sizes().at("neg_eigval").as_bool() ? 2.0 : 1.0;
      in.parts = {{"w.q_proj.weight"}, {"w.k_proj.weight"}, {"w.v_proj.weight"}};
      if (gate != "none") in.parts.push_back({"w.g_proj.weight"});
      in.parts.push_back({"w.a_proj.weight"});
      in.parts.push_back({"w.b_proj.weight"});
      layer.mappings = {
          in,
          {"conv.weight", {{"w.q_conv1d.weight"}, {"w.k_conv1d.weight"}, {"w.v_conv1d.weight"}}},
          {"norm.weight", {{"w.o_norm.weight"}}},
          {"out_proj.weight", {{"w.o_proj.weight"}}}};
      if (g.sizes().at("conv_bias").as_bool()) {
        layer.mappings.push_back(
            {"conv.bias", {{"w.q_conv1d.bias"}, {"w.k_conv1d.bias"}, {"w.v_conv1d.bias"}}});
      }
      layer.states = [=](const Golden& file, const State& s, const std::string& suffix) {
        file.expect("S" + suffix, s["S"].value);
        expect_conv_state(file, "conv_state_q" + suffix, s["conv"].value, 0);
        expect_conv_state(file, "conv_state_k" + suffix, s["conv"].value, H * K);
        expect_conv_state(file, "conv_state_v" + suffix, s["conv"].value, 2 * H * K);
      };
    } else {
      if (g.has("w.in_proj_qkvz.weight")) {
        // Rows grouped by key head: q | k | v of its value heads | z of the same; and b | a.
        std::vector<std::int64_t> q, k, v, z, a, b;
        const std::int64_t group = 2 * K + 2 * R * V;
        for (std::int64_t h = 0; h < H; ++h) {
          append(q, range(h * group, K));
          append(k, range(h * group + K, K));
          append(v, range(h * group + 2 * K, R * V));
          append(z, range(h * group + 2 * K + R * V, R * V));
          append(b, range(h * 2 * R, R));
          append(a, range(h * 2 * R + R, R));
        }
        const std::string big = "w.in_proj_qkvz.weight", small = "w.in_proj_ba.weight";
        in.parts = {{big, q}, {big, k}, {big, v}, {big, z}, {small, a}, {small, b}};
      } else {
        in.parts = {{"w.in_proj_qkv.weight"},
                    {"w.in_proj_z.weight"},
                    {"w.in_proj_a.weight"},
                    {"w.in_proj_b.weight"}};
      }
      layer.mappings = {in,
                        {"conv.weight", {{"w.conv1d.weight"}}},
                        {"norm.weight", {{"w.norm.weight"}}},
                        {"out_proj.weight", {{"w.out_proj.weight"}}}};
      layer.states = [](const Golden& file, const State& s, const std::string& suffix) {
        file.expect("S" + suffix, s["S"].value);
        expect_conv_state(file, "conv_state" + suffix, s["conv"].value, 0);
      };
    }
    layer.mappings.push_back({"A_log", {{"w.A_log"}}});
    layer.mappings.push_back({"dt_bias", {{"w.dt_bias"}}});
    compare_layer(g, layer);
  }
}

TEST(GoldenLayers, Mamba2) {
  const auto files = golden_files({"mamba2_mixer"});
  ASSERT_GE(files.size(), 3U);
  for (const std::string& path : files) {
    const Golden g(path);
    const std::int64_t D = g.size("D"), H = g.size("H"), P = g.size("P");
    LayerCase layer{"mamba2", Json::object(), D, H, {}, {}};
    layer.options["expand"] = H * P / D;
    layer.options["head_dim"] = P;
    layer.options["state"] = g.size("N");
    layer.options["groups"] = g.size("G");
    const Json& limit = g.sizes().at("dt_limit");
    layer.options["dt_low"] = limit[0].as_double();
    if (limit[1].is_number()) layer.options["dt_high"] = limit[1].as_double();
    layer.mappings = {{"in_proj.weight", {{"w.in_proj.weight"}}},
                      {"conv.weight", {{"w.conv1d.weight"}}},
                      {"conv.bias", {{"w.conv1d.bias"}}},
                      {"A_log", {{"w.A_log"}}},
                      {"dt_bias", {{"w.dt_bias"}}},
                      {"D_skip", {{"w.D"}}},
                      {"norm.weight", {{"w.norm.weight"}}},
                      {"out_proj.weight", {{"w.out_proj.weight"}}}};
    if (g.has("w.in_proj.bias")) {
      layer.options["bias"] = true;
      layer.mappings.push_back({"in_proj.bias", {{"w.in_proj.bias"}}});
      layer.mappings.push_back({"out_proj.bias", {{"w.out_proj.bias"}}});
    }
    layer.states = [](const Golden& file, const State& s, const std::string& suffix) {
      file.expect("S" + suffix, s["S"].value);
      expect_conv_state(file, "conv_state" + suffix, s["conv"].value, 0);
    };
    compare_layer(g, layer);
  }
}

}  // namespace
}  // namespace subquad
