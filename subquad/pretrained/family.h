// A family of published models: how its files are recognised, and what they are in our terms.
// Adding one: a file in families/, its declaration below, and a line in all_families.cpp.
#pragma once

#include <string>
#include <vector>

#include "subquad/model/model.h"
#include "subquad/pretrained/config.h"
#include "subquad/pretrained/weight_map.h"

namespace subquad {

struct Published {
  ModelConfig config;
  WeightMap weights;
  // Names that may be in the files beside those of the map and are not read.
  std::vector<std::string> spare;
  // Pairs of names for one tensor, of which the first is in the map. If a file holds both, their
  // elements must agree.
  std::vector<std::pair<std::string, std::string>> aliases;
  // Ids below this have a meaning; further rows of the embedding are padding, never to be sampled.
  std::int64_t vocabulary = 0;
  bool bytes = false;   // ids are the bytes of a text
  bool packed = false;  // matrices may be stored in int8 and int4
};

// Ids that a folder's generation_config.json, or else its configuration, gives a meaning.
struct SpecialIds {
  std::int32_t begin = -1;              // bos_token_id; -1: none
  std::vector<std::int32_t> ends = {};  // eos_token_id: generation stops at these; may be empty
};

// What a configuration file that is written says beside the architecture.
struct ExportFacts {
  DType dtype = DType::f32;  // of the weights, or bf16
  SpecialIds special = {};
  std::int64_t positions = 0;  // the longest sequence it is meant for; 0: not said
};

struct Family {
  const char* name;
  const char* summary;  // one line
  bool (*claims)(const PublishedConfig& config);
  // Errors: a setting that changes the arithmetic and that our layers do not have.
  Published (*describe)(const PublishedConfig& config, const WeightFiles& files);
  // The inverse: the configuration file of a model of ours. Null: this layout is only read.
  // Errors: unsupported, with what this layout cannot say.
  Json (*configuration)(const ModelConfig& model, const ExportFacts& facts) = nullptr;
};

// families/*.cpp
extern const Family kLlama, kQwen3, kMamba2, kMamba2StateSpaces, kXlstmLarge, kXlstmNeurips,
    kGatedDeltaNetFla, kQwen3Next, kQwen35, kGpt2, kGraniteHybrid, kKimiLinear, kTirex, kSubquad;

// The configuration file of our own layout.
struct OwnLayout {
  const ModelConfig& model;
  Packing packing;
  std::int64_t vocabulary;  // see Published
  bool bytes;
  SpecialIds special = {};
};
Json own_configuration(const OwnLayout& layout);

const std::vector<const Family*>& all_families();
// The family of a configuration. Errors: none; a family known by name and not supported is refused
// with what it would need.
const Family& family_of(const PublishedConfig& config);

}  // namespace subquad
