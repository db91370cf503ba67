// Session as a file: safetensors with the state's fields, what was read, and digests of all of it.
#include <algorithm>
#include <cstring>

#include "subquad/base/digest.h"
#include "subquad/io/safetensors.h"
#include "subquad/runtime/session.h"
#include "subquad/train/checkpoint.h"

namespace subquad {
namespace {

constexpr const char* kFormat = "subquad.state";
constexpr const char* kVersion = "1";

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.raw()), static_cast<std::size_t>(t.bytes())};
}

// Over names, shapes and contents.
std::string digest_of(const NamedTensors& tensors) {
  Sha256 hash;
  for (const auto& [name, t] : tensors) {
    hash.update(name);
    for (int i = 0; i < t.shape().rank; ++i) hash.update("," + std::to_string(t.shape()[i]));
    hash.update(";");
    hash.update(bytes_of(t));
  }
  return hash.finish();
}

std::string field_name(std::size_t block, const std::string& field) {
  return "blocks." + std::to_string(block) + "." + field;
}

// Growing fields have spare room behind the positions that were seen: (rows, positions, ...).
Tensor without_spare(const Tensor& t, const StateField& field, std::int64_t positions) {
  if (!field.grows_with_time || t.shape()[1] == positions) return t;
  Shape s = t.shape();
  const auto from_row = static_cast<std::size_t>(t.bytes() / s[0]);
  s.dims[1] = positions;
  const Tensor out(s, t.dtype());
  const auto row = static_cast<std::size_t>(out.bytes() / s[0]);
  for (std::size_t r = 0; r < static_cast<std::size_t>(s[0]); ++r)
    std::memcpy(static_cast<std::byte*>(out.raw()) + r * row,
                static_cast<const std::byte*>(t.raw()) + r * from_row, row);
  return out;
}

Shape shape_of(const StateField& field, std::int64_t rows, std::int64_t positions) {
  Shape s{rows};
  if (field.grows_with_time) s.dims[static_cast<std::size_t>(s.rank++)] = positions;
  for (int i = 0; i < field.per_sequence.rank; ++i)
    s.dims[static_cast<std::size_t>(s.rank++)] = field.per_sequence[i];
  return s;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path) {
    const std::string format = text("format"), version = text("version");
    require(format == kFormat, ErrorCode::format, path, ": format \"", format, "\", wanted \"",
            kFormat, "\": this is not the state of a session");
    require(version == kVersion, ErrorCode::unsupported, path, ": version ", version,
            " of the format, wanted ", kVersion);
  }

  std::string text(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    require(found != file_.metadata().end(), ErrorCode::format, path_, ": __metadata__ has no \"",
            key, "\": this is not the state of a session");
    return found->second;
  }
  const Safetensors::Entry& entry(const std::string& name) const {
    const auto found = file_.entries().find(name);
    require(found != file_.entries().end(), ErrorCode::format, path_, ": tensor ", name,
            " is missing");
    return found->second;
  }
  Tensor take(const std::string& name, const Shape& shape, DType dtype) {
    const Safetensors::Entry& e = entry(name);
    require(e.shape == shape && e.dtype == dtype, ErrorCode::format, path_, ": tensor ", name,
            " is ", name_of(e.dtype), " of shape ", e.shape, ", wanted ", name_of(dtype), " of ",
            shape);
    Tensor t = file_.read(name);
    taken_.emplace_back(name, t);
    return t;
  }
  void finish() const {
    for (const auto& [name, e] : file_.entries()) {
      require(std::any_of(taken_.begin(), taken_.end(),
                          [&n = name](const auto& t) { return t.first == n; }),
              ErrorCode::format, path_, ": tensor ", name, " is of no state of this model");
    }
    require(digest_of(taken_) == text("state_sha256"), ErrorCode::format, path_,
            ": the content does not match its digest; the file is damaged");
  }

 private:
  std::string path_;
  Safetensors file_;
  NamedTensors taken_;
};

}  // namespace

std::string model_digest(const Model& model, const ParameterStore& weights) {
  return sha256(model.config().to_json().dump() + "\n" + weights_digest(weights));
}

void Session::save(const std::string& path) const {
  require(last_ && options_.keep_ids, ErrorCode::invalid_argument,
          last_ ? "a session that does not keep its ids cannot be saved"
                : "a session that has read nothing has no state to save");
  const Tensor tokens({rows(), positions()}, DType::i32);
  for (std::int64_t r = 0; r < rows(); ++r)
    std::copy_n(ids(r).data(), positions(), tokens.data<std::int32_t>() + r * positions());
  NamedTensors tensors = {{"tokens", tokens}, {"features", last_}};
  for (std::size_t i = 0; i < state_.size(); ++i) {
    for (const StateField& f : model_->block_state_spec(i))
      tensors.emplace_back(field_name(i, f.name),
                           without_spare(state_[i][f.name].value, f, positions()));
  }
  write_safetensors(path, tensors,
                    {{"format", kFormat},
                     {"version", kVersion},
                     {"model", model_digest(*model_, *weights_)},
                     {"tokens_sha256", sha256(bytes_of(tokens))},
                     {"state_sha256", digest_of(tensors)}});
}

Session Session::load(Engine& engine, const Model& model, ParameterStore& weights,
                      const std::string& path) {
  Reader in(path);
  const std::string theirs = in.text("model"), ours = model_digest(model, weights);
  require(theirs == ours, ErrorCode::format, path, ": the state of another model (",
          theirs.substr(0, 12), "..., this one is ", ours.substr(0, 12),
          "...); a state is of use to the very weights that made it only");
  const Shape prefix = in.entry("tokens").shape;
  require(prefix.rank == 2 && prefix[0] > 0 && prefix[1] > 0, ErrorCode::format, path,
          ": tensor tokens has shape ", prefix, ", wanted (rows, positions)");
  const std::int64_t rows = prefix[0], positions = prefix[1];
  const Tensor tokens = in.take("tokens", prefix, DType::i32);
  require(sha256(bytes_of(tokens)) == in.text("tokens_sha256"), ErrorCode::format, path,
          ": the tokens do not match their digest; the file is damaged");
  const Tensor last = in.take("features", {rows, model.config().d_model}, weights.dtype());
  std::vector<std::vector<Tensor>> fields;  // checked before a session of so many rows is made
  for (std::size_t i = 0; i < model.config().layers.size(); ++i) {
    fields.emplace_back();
    for (const StateField& f : model.block_state_spec(i))
      fields.back().push_back(
          in.take(field_name(i, f.name), shape_of(f, rows, positions), weights.dtype()));
  }
  in.finish();
  Session s(engine, model, weights, {.rows = rows});
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int32_t* from = tokens.data<std::int32_t>() + r * positions;
    s.ids_[static_cast<std::size_t>(r)].assign(from, from + positions);
  }
  s.tokens_of(std::span<const std::int32_t>(tokens.data<std::int32_t>(),
                                            static_cast<std::size_t>(tokens.numel())));
  s.last_ = last;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    std::size_t k = 0;
    for (const StateField& f : model.block_state_spec(i)) s.state_[i][f.name] = Var{fields[i][k++]};
    s.state_[i].set_positions(positions);
  }
  return s;
}

}  // namespace subquad
