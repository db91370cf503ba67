// Checkpoints that survive a crash at any instant. A checkpoint is a folder step-NNNNNNNNNN with
// model.safetensors, optim.safetensors, train_state.json and MANIFEST.json (sizes and SHA-256 of
// the others, and the digest of the previous manifest). It is written beside its place, synced and
// renamed; loading verifies everything, sets a damaged one aside as *.corrupt-N and takes the next
// older.
#pragma once

#include <optional>
#include <string>

#include "subquad/autograd/params.h"
#include "subquad/io/safetensors.h"
#include "subquad/train/optimizer.h"

namespace subquad {

struct TrainState {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  Json log = Json::array();  // [[tokens, loss], ...] of the learning curve so far
  double loss_sum = 0;       // since the last point of the curve
  std::int64_t loss_count = 0;
};

NamedTensors named_parameters(const ParameterStore& store);
// Fails, naming file and tensor, if a parameter is missing or has another shape.
void load_parameters(const std::string& path, ParameterStore& store);
std::string weights_digest(const ParameterStore& store);

class Checkpoints {
 public:
  explicit Checkpoints(std::string folder);  // created if missing
  void save(const ParameterStore& store, const AdamW& optimizer, const TrainState& state);
  // The newest valid checkpoint, or nothing if there is none at all. Throws if there are some and
  // none is valid.
  std::optional<TrainState> load(ParameterStore& store, AdamW& optimizer);

 private:
  std::string folder_;
  std::string previous_digest_;
};

}  // namespace subquad
