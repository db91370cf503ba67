// Law L6 for every mixer of the list: gradients of x, of every parameter and through the state at
// both ends equal finite differences of the f64 reference.
#include <gtest/gtest.h>

#include "subquad/mixer/all_mixers.h"
#include "subquad/model/engine.h"
#include "tests/gradcheck/gradcheck.h"

namespace subquad {
namespace {

void check(const std::string& kind, const Json& options, const std::string& what) {
  ParameterPlan plan;
  const auto mixer = make_mixer(kind, {.d_model = 8, .heads = 2, .options = options}, plan);
  ParameterStore store(plan, DType::f64, 3);
  const StateSpec spec = mixer->state_spec();
  const bool grows =
      std::any_of(spec.begin(), spec.end(), [](const StateField& f) { return f.grows_with_time; });
  std::vector<Tensor> inputs = {random_f64({2, 5, 8}, 1)};
  const State shape_of(mixer->state_spec(), 2, DType::f64);
  std::vector<std::string> fields;
  for (const auto& [name, var] : shape_of.fields()) {
    if (grows) break;
    fields.push_back(name);
    Tensor start = random_f64(var.shape(), 10 + fields.size(), 0.5);
    for (double& x : start.host<double>())
      x = name == "n" ? std::abs(x) + 1 : x;  // n of sLSTM is positive
    inputs.push_back(start);
  }
  const auto build = [&](Context& cx, const std::vector<Var>& x) {
    State state(mixer->state_spec(), 2, DType::f64);
    for (std::size_t i = 0; i < fields.size(); ++i) state[fields[i]] = x[i + 1];
    std::vector<Var> out = {mixer->forward(cx, x[0], {}, &state)};
    for (const std::string& f : fields) out.push_back(state[f]);
    const std::vector<std::int64_t> starts = {2, 5}, valid = {4, 5};
    out.push_back(
        mixer->forward(cx, x[0], {.document_starts = starts, .valid_lengths = valid}, nullptr));
    return out;
  };
  gradcheck(all_kernels(), {.store = &store, .inputs = inputs, .build = build, .bound = 1e-6},
            what);
}

TEST(MixerGradients, EveryMixerWithItsDefaults) {
  for (const MixerEntry& entry : all_mixers()) check(entry.kind, {}, entry.kind);
}

TEST(MixerGradients, Options) {
  const auto options = [](const char* text) { return Json::parse(text, "options"); };
  check("mlstm", options(R"({"conv":0,"qk_factor":0.5,"gate_soft_cap":15.0,"output_gate":"silu"})"),
        "mlstm 7B");
  check("mlstm", options(R"({"exponential_input":false})"), "mlstm sigmoid input");
  check("mlstm", options(R"({"exponential_input":false,"normalizer":false})"), "mlstm plain");
  check("slstm", options(R"({"conv":4,"gates":"headwise","output_projection":false})"),
        "slstm headwise");
  check("slstm", options(R"({"conv":4,"output_projection":false})"), "slstm conv");
  check("mamba2", options(R"({"groups":2,"dt_low":0.01,"dt_high":0.5,"head_dim":4})"),
        "mamba2 groups");
  check("gated_deltanet",
        options(R"({"value_heads":4,"value_dim":3,"conv_bias":true,"gate":"sigmoid"})"),
        "gdn grouped");
  check("gated_deltanet", options(R"({"output_gate":false,"conv":0})"), "gdn bare");
  check("gated_deltanet", options(R"({"erase":false})"), "gdn without erase");
  check("attention",
        options(R"({"kv_heads":1,"qk_norm":true,"output_gate":true,"rope_dims":2,"window":3})"),
        "attention");
  check("attention", options(R"({"rope":false})"), "attention NoPE");
  check("attention",
        options(R"({"heads":4,"qkv_bias":true,"out_bias":true,"scale":0.7,"rope_factor":4,)"
                R"("rope_original_length":8,"rope_theta":10})"),
        "attention with biases and stretched positions");
  check("slstm", options(R"({"heads":4,"input_bias":true,"norm_plus_one":true,"conv":4})"),
        "slstm with an input bias");
  check("mamba2", options(R"({"conv_bias":false,"bias":true})"), "mamba2 biases");
  check("gated_deltanet", options(R"({"heads":1,"head_dim":3,"value_dim":4})"), "gdn one head");
  check("attention", options(R"({"rope":false,"head_dim":3,"qk_norm":true})"), "attention odd");
  check("latent_attention", options(R"({"shared_dim":0,"latent":3,"value_dim":5,"scale":0.4})"),
        "latent attention without a shared key");
}

TEST(MixerGradients, EverySwitchOfTheLinearCore) {
  const std::pair<const char*, const char*> variants[] = {
      {"mlstm", R"({"tied_gates":true})"},
      {"mlstm", R"({"tied_gates":true,"exponential_input":false})"},
      {"mlstm", R"({"decay":false})"},
      {"mlstm", R"({"erase":true})"},
      {"mamba2", R"({"erase":true})"},
      {"mamba2", R"({"normalizer":true})"},
      {"mamba2", R"({"tied_gates":false})"},
      {"mamba2", R"({"exponential_input":true,"normalizer":true})"},
      {"mamba2", R"({"decay":false})"},
      {"mamba2", R"({"decay":false,"tied_gates":false,"erase":true})"},
      {"gated_deltanet", R"({"tied_gates":true})"},
      {"gated_deltanet", R"({"decay":false})"},
      {"gated_deltanet", R"({"erase":false,"exponential_input":true,"normalizer":true})"},
      {"gated_deltanet", R"({"channel_decay":true})"},
      {"kda", R"({"erase":false})"},
      {"kda", R"({"value_heads":4,"head_dim":3,"value_dim":2,"write_range":2.0})"},
      {"kda", R"({"gate_rank":0,"decay_rank":0})"},
      {"kda", R"({"output_gate":false,"decay_rank":1})"},
  };
  for (const auto& [kind, options] : variants) {
    check(kind, Json::parse(options, "options"), std::string(kind) + " " + options);
  }
}

}  // namespace
}  // namespace subquad
