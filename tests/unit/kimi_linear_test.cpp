#include <gtest/gtest.h>

#include "tests/unit/published_copy.h"

namespace subquad {
namespace {

// Kimi Linear as its authors released it: other keys, the dense MLP and the rates under other names.
TEST(KimiLinear, IsReadInBothLayouts) {
  const Copy c("kimi_linear");
  const auto weights = [&] {
    const auto p = open_pretrained(c.folder());
    const ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
    p->load(store);
    return store.flat_values().clone();
  };
  const Tensor ours = weights();
  Json config = Json::read(c / "config.json");
  for (const char* key : {"layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads",
                          "linear_conv_kernel_dim"})
    config[key] = Json();
  config["first_k_dense_replace"] = 1;
  config["moe_layer_freq"] = 1;
  config["moe_router_activation_func"] = "sigmoid";
  config["mla_use_nope"] = true;
  config["linear_attn_config"] =
      Json::parse(R"({"head_dim":8,"num_heads":4,"short_conv_kernel_size":4,"kda_layers":[1,2],)"
                  R"("full_attn_layers":[3]})",
                  "test");
  write_file_atomically(c / "config.json", config.dump(1));
  c.rewrite("model.safetensors", [](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name.ends_with("A_log")) tensor = tensor.reshaped({4});
      const std::string sparse = "model.layers.0.block_sparse_moe.";
      if (name.starts_with(sparse)) name = "model.layers.0.mlp." + name.substr(sparse.size());
    }
  });
  EXPECT_TRUE(same_bits(weights(), ours));

  const std::string good = read_file(c / "config.json");
  const auto refused = [&](const char* key, Json value, const std::vector<std::string>& parts,
                           const char* inside = "") {
    c.set("config.json", key, std::move(value), inside);
    c.expect_refused(parts);
    write_file_atomically(c / "config.json", good);
  };
  refused("q_lora_rank", 8, {"config.json", "q_lora_rank", "wanted null"});
  refused("mla_use_nope", false, {"config.json", "mla_use_nope"});
  refused("num_expert_group", 2, {"config.json", "num_expert_group", "wanted 1"});
  refused("moe_router_activation_func", "softmax", {"config.json", "softmax", "sigmoid"});
  refused("num_key_value_heads", 1, {"config.json", "num_key_value_heads", "wanted"});
  refused("num_experts", 1000, {"num_experts 1000 in 2 layers", "tensors"});
  refused("num_experts_per_token", 9, {"config.json", "active 9"});
  refused("first_k_dense_replace", 2, {"block_sparse_moe"});
  refused("kv_lora_rank", 15, {"model.safetensors", "kv_a_layernorm.weight", "wanted (15)"});
  const char* linear = "linear_attn_config";
  refused("kda_layers", Json::Array{1}, {linear, "layer 2", "neither"}, linear);
  refused("kda_layers", Json::Array{1, 2, 3}, {linear, "layer 3", "twice"}, linear);
  refused("kda_layers", Json::Array{0, 1, 2}, {linear, "got 0", "wanted 1 to 3"}, linear);
  refused("gate_lower_bound", -5.0, {linear, "gate_lower_bound"}, linear);
  refused("num_heads", 3, {"model.safetensors", "layers.0", "wanted"}, linear);
}

}  // namespace
}  // namespace subquad
