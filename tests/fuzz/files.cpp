// Weights, configurations and checkpoints.
#include <cstring>

#include "subquad/base/digest.h"
#include "subquad/io/safetensors.h"
#include "subquad/io/yaml.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/pretrained/stored_weights.h"
#include "subquad/quant/pack.h"
#include "subquad/train/checkpoint.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {
namespace {

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 ||
          std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0);
}

bool is_float(DType t) { return t != DType::i64 && t != DType::i32 && t != DType::u8; }

}  // namespace

// A file that is read reads the same after it was written again.
bool safetensors(std::string_view input) {
  const std::string path = scratch_file("weights.safetensors", input);
  return accepted([&] {
    const Safetensors file(path);
    NamedTensors tensors;
    for (const auto& [name, entry] : file.entries()) {
      tensors.emplace_back(name, file.read(name));
      if (is_float(entry.dtype)) (void)file.read_as(name, DType::f64);
    }
    const Safetensors again(
        scratch_file("again.safetensors", safetensors_bytes(tensors, file.metadata())));
    promise(again.entries().size() == tensors.size() && again.metadata() == file.metadata(),
            "a written file has the same names and metadata");
    for (const auto& [name, tensor] : tensors)
      promise(same_bytes(again.read(name), tensor), "a written tensor has the same bytes");
  });
}

namespace {

// A family may look for sizes in the weights: those of its golden model are there to be found.
const WeightFiles& weights_for(const PublishedConfig& config) {
  static const std::string golden = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";
  static const WeightFiles none, experts(golden + "qwen3_next"), xlstm(golden + "xlstm_hf"),
      neurips(golden + "xlstm_neurips");
  if (config.contains("num_experts")) return experts;
  return config.contains("qk_dim_factor") ? xlstm : config.contains("mlstm_block") ? neurips : none;
}

}  // namespace

// Sections: configuration, weights (may be missing). A model that is described has a plan that its map
// fills.
bool config(std::string_view input) {
  const std::string text(take_section(input));
  return accepted([&] {
    Json json =
        text.starts_with('{') ? Json::parse(text, "config.json") : parse_yaml(text, "config.yaml");
    require(json.is_object(), ErrorCode::format, "wanted an object");
    const PublishedConfig config(std::move(json), "config");
    const Family& family = family_of(config);
    WeightFiles given;
    if (!input.empty()) {
      const std::string folder = empty_folder("config");
      scratch_file("config/model.safetensors", input);
      given = WeightFiles(folder);
    }
    const Published p = family.describe(config, input.empty() ? weights_for(config) : given);
    ParameterPlan plan;
    const Model model(p.config, plan);
    check_complete(p.weights, plan);
  });
}

// Sections: index, then the files 0.safetensors, 1.safetensors, ... of the same folder.
bool shards(std::string_view input) {
  const std::string folder = empty_folder("shards");
  scratch_file("shards/model.safetensors.index.json", take_section(input));
  for (int i = 0; i < 4 && !input.empty(); ++i)
    scratch_file("shards/" + std::to_string(i) + ".safetensors", take_section(input));
  return accepted([&] {
    const WeightFiles files(folder);
    for (const std::string& name : files.names()) {
      const Safetensors::Entry& e = files.entry(name);
      promise(files.file_of(name).starts_with(folder), "a tensor is in a file of the folder");
      promise(files.in_place(name).shape() == e.shape, "a tensor has the shape of its entry");
    }
    files.require_finite();
  });
}

// Sections: config.json, weights. What is read, packed or not, is what is written again.
bool own_layout(std::string_view input) {
  const std::string folder = empty_folder("own");
  scratch_file("own/config.json", take_section(input));
  scratch_file("own/model.safetensors", input);
  return accepted([&] {
    const auto p = open_pretrained(folder);
    const ParameterStore store = p->weights();
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(p->plan.all().size()); ++i)
      promise(exact_value(store, {i}).shape() == p->plan.all()[static_cast<std::size_t>(i)].shape,
              "a weight has the shape of its parameter");
    if (p->published.packed)
      promise(named_weights(store).size() == p->files->names().size(), "every tensor is a weight");
  });
}

// First byte: "m" completes the manifest of what follows, so that what lies behind the digests is
// reached. Sections: manifest (if not completed), model, optimiser, training state.
bool checkpoint(std::string_view input) {
  const std::string folder = empty_folder("checkpoints");
  empty_folder("checkpoints/step-0000000001");
  const bool complete = input.starts_with('m');
  if (!input.empty()) input.remove_prefix(1);
  Json manifest = Json::object();
  const auto put = [&](const char* name, std::string_view content) {
    scratch_file("checkpoints/step-0000000001/" + std::string(name), content);
    manifest["files"][name]["bytes"] = static_cast<std::int64_t>(content.size());
    manifest["files"][name]["sha256"] = sha256(content);
  };
  const std::string_view given = complete ? "" : take_section(input);
  put("model.safetensors", take_section(input));
  put("optim.safetensors", take_section(input));
  put("train_state.json", take_section(input));
  if (complete) manifest["sha256"] = sha256(manifest.dump());
  scratch_file("checkpoints/step-0000000001/MANIFEST.json",
               complete ? manifest.dump() : std::string(given));
  ParameterPlan parameters;
  parameters.declare("w", {2, 2}, Init::normal(1), true);
  parameters.declare("b", {2}, Init::zeros(), false);
  ParameterStore store(parameters, DType::f32, 1);
  AdamW optimizer(parameters, DType::f32);
  return accepted([&] {
    Checkpoints checkpoints(folder);
    promise(checkpoints.load(store, optimizer).has_value(), "a checkpoint is found or an error");
  });
}

}  // namespace subquad::fuzz
