// What a served model reads: chat templates and conversations, states.
#include "subquad/base/digest.h"
#include "subquad/data/chat_template/chat_template.h"
#include "subquad/io/safetensors.h"
#include "subquad/runtime/session.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {
namespace {

struct Tiny {
  ParameterPlan plan;
  std::unique_ptr<Model> model;
  std::unique_ptr<ParameterStore> weights;
  Engine engine{1, Precision::f32};
  std::string digest;

  Tiny() {
    ModelConfig c;
    c.vocabulary = c.classes = 5;
    c.d_model = 8;
    c.heads = 1;
    c.layers = {"mlstm", "attention"};
    model = std::make_unique<Model>(c, plan);
    weights = std::make_unique<ParameterStore>(plan, DType::f32, 1);
    digest = model_digest(*model, *weights);
  }
};

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.raw()), static_cast<std::size_t>(t.bytes())};
}

// The file again, with digests that fit: of the model, the tokens, and all that a state holds.
std::string with_digests(const std::string& path, const Tiny& tiny) {
  const Safetensors file(path);
  NamedTensors tensors;
  const auto take = [&](const std::string& name) {
    if (file.contains(name)) tensors.emplace_back(name, file.read(name));
  };
  take("tokens");
  take("features");
  for (std::size_t i = 0; i < 2; ++i) {
    for (const StateField& f : tiny.model->block_state_spec(i))
      take("blocks." + std::to_string(i) + "." + f.name);
  }
  Sha256 hash;
  for (const auto& [name, t] : tensors) {
    hash.update(name);
    for (int d = 0; d < t.shape().rank; ++d) hash.update("," + std::to_string(t.shape()[d]));
    hash.update(";");
    hash.update(bytes_of(t));
  }
  auto metadata = file.metadata();
  metadata["model"] = tiny.digest;
  metadata["state_sha256"] = hash.finish();
  if (file.contains("tokens")) metadata["tokens_sha256"] = sha256(bytes_of(file.read("tokens")));
  return safetensors_bytes(tensors, metadata);
}

}  // namespace

// Sections: template, variables.
bool chat_template(std::string_view input) {
  const std::string_view text = take_section(input);
  return accepted([&] {
    const ChatTemplate t(text, "chat_template");
    const Json variables = Json::parse(input, "variables", {.depth = 64, .values = 1 << 16});
    require(variables.is_object(), ErrorCode::format, "wanted an object");
    (void)t.render(variables);
  });
}

// First byte: "d" makes the digests fit, so that what lies behind them is reached.
bool state(std::string_view input) {
  static Tiny tiny;
  const bool fitting = input.starts_with('d');
  if (!input.empty()) input.remove_prefix(1);
  const std::string path = scratch_file("state.safetensors", input);
  return accepted([&] {
    if (fitting) scratch_file("state.safetensors", with_digests(path, tiny));
    Session s = Session::load(tiny.engine, *tiny.model, *tiny.weights, path);
    promise(s.positions() > 0, "a loaded session has read something");
    (void)s.fork(2);
  });
}

}  // namespace subquad::fuzz
