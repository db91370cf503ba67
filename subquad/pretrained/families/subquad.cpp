// Our own layout: any model of ours, its parameters under their own names, packed or not.
#include <algorithm>

#include "subquad/pretrained/families/parts.h"
#include "subquad/pretrained/stored_weights.h"

namespace subquad {
namespace {

constexpr std::int64_t kVersion = 1;

// The runs that a parameter is stored in, as pieces.
std::vector<Piece> stored_pieces(const ParamInfo& p, const WeightFiles& files) {
  if (files.contains(p.name) || !files.contains(run_name(p.name, 0)))
    return {Piece::whole(p.name, p.shape)};
  std::vector<Piece> pieces;
  for (std::size_t i = 0; files.contains(run_name(p.name, i)); ++i) {
    const std::string name = run_name(p.name, i);
    const Safetensors::Entry& e = files.entry(name);
    require(e.shape.rank == 2 && e.shape[0] <= p.shape.rows(), ErrorCode::format,
            files.file_of(name), ": tensor ", name, " of shape ", e.shape, ", wanted rows of ",
            p.name, " ", p.shape);
    pieces.push_back(Piece::whole(name, {e.shape[0], p.shape[-1]}));
  }
  std::int64_t rows = 0;
  for (const Piece& piece : pieces) rows += piece.shape[0];
  require(rows == p.shape.rows(), ErrorCode::format, files.folder(), ": tensors ",
          run_name(p.name, 0), " to ", run_name(p.name, pieces.size() - 1), " have ", rows,
          " rows, wanted ", p.shape.rows());
  return pieces;
}

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  const std::int64_t version = c.size("format_version");
  c.check(version == kVersion, "format_version ", version, ", this program reads ", kVersion);
  Published p;
  const Json* model = c.find("model");
  require(model != nullptr, ErrorCode::format, c.source(), ": key \"model\" is missing");
  try {
    p.config = ModelConfig::from_json(*model);
  } catch (Error& e) {  // a value of the wrong type; of others the caller says which file it was
    if (e.code() != ErrorCode::invalid_argument) e.add_context(c.source() + ": key \"model\"");
    throw;
  }
  p.vocabulary = c.size("vocab_size", p.config.vocabulary);
  const std::int64_t most = std::min(p.config.vocabulary, p.config.classes);
  c.check(p.config.forecasts() || p.vocabulary <= most, "vocab_size ", p.vocabulary,
          " of a model with ", most, " ids");
  p.bytes = c.flag("text_is_bytes", false);
  c.check(!p.bytes || p.vocabulary >= 256, "text_is_bytes with vocab_size ", p.vocabulary,
          ", wanted at least 256");
  p.packed = true;
  check_experts(c, files, "model.experts.count", p.config.experts.count,
                p.config.expert_blocks.size());
  ParameterPlan plan;
  const Model described(p.config, plan);
  for (const ParamInfo& info : plan.all()) {
    p.weights.push_back({info.name, stored_pieces(info, files)});
    for (const Piece& piece : p.weights.back().pieces) {
      if (files.contains(piece.tensor) && size_of(files.entry(piece.tensor).dtype) == 1)
        p.spare.push_back(scales_name(piece.tensor));
    }
  }
  return p;
}

Json configuration(const ModelConfig& model, const ExportFacts& facts) {
  require(model.forecasts(), ErrorCode::unsupported, "models of token ids come from quantize");
  return own_configuration({.model = model,
                            .packing = facts.dtype == DType::bf16 ? Packing::bf16 : Packing::f32,
                            .vocabulary = model.vocabulary,
                            .bytes = false});
}

}  // namespace

const Family kSubquad = {
    "subquad", "our own layout: any model of ours; int8 and int4 weights",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "subquad"; }, describe,
    configuration};

Json own_configuration(const OwnLayout& l) {
  Json c = Json::object();
  c["model_type"] = "subquad";
  c["format_version"] = kVersion;
  c["weights"] = std::string(name_of(l.packing));
  c["vocab_size"] = l.vocabulary;
  c["text_is_bytes"] = l.bytes;
  if (l.special.begin >= 0) c["bos_token_id"] = std::int64_t{l.special.begin};
  Json ends = Json::array();
  for (const std::int32_t id : l.special.ends) ends.push_back(std::int64_t{id});
  c["eos_token_id"] = ends;
  c["model"] = l.model.to_json();
  return c;
}

}  // namespace subquad
