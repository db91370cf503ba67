// LanguageModel: a model with its weights and the meaning of its ids, ready to be asked. From the
// folder of a run of ours, or of a published model.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/train/run.h"

namespace subquad {

struct LanguageModel {
  std::string folder;
  std::unique_ptr<TrainedRun> run;  // one of the two
  std::unique_ptr<Pretrained> published;
  std::unique_ptr<ParameterStore> weights;  // of the published model
  std::optional<Tokenizer> tokenizer;
  bool bytes = false;                    // without a tokenizer: ids are the bytes of a text
  std::int64_t inputs = 0, outputs = 0;  // ids below these may be read, and drawn
  std::int32_t begin_id = -1;            // of the configuration; -1: none
  std::vector<std::int32_t> end_ids;     // generation stops at these
  Precision precision = Precision::f32;

  bool text() const { return bytes || tokenizer.has_value(); }
  const Model& model() const { return run ? *run->model : *published->model; }
  ParameterStore& store() const { return run ? *run->store : *weights; }
  const Tokenizer* tokenizer_or_null() const { return tokenizer ? &*tokenizer : nullptr; }

  // Ids of a text; without text(), of ids separated by spaces. start: at the start of a sequence,
  // with the special tokens that the tokenizer's template puts there.
  // Errors: invalid_argument for what is no id; format if the tokenizer is not the model's.
  std::vector<std::int32_t> encode(const std::string& prompt, bool start) const;
  // What stands before a text that is scored from its first token on: the template's first token,
  // else begin or end id of the configuration (as the evaluation harness does), a zero byte for
  // bytes; -1 if there is none.
  std::int32_t prefix_id() const;
  bool ends_with(std::int32_t id) const;  // generation stops after this id
};

LanguageModel language_model_of_run(const std::string& folder);
// ids: do not load the tokenizer, ids are ids. Errors: those of open_pretrained and Tokenizer::load.
LanguageModel published_language_model(const std::string& folder, bool ids = false);

}  // namespace subquad
