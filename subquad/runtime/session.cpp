#include "subquad/runtime/session.h"

#include <algorithm>

#include "subquad/base/interrupt.h"

namespace subquad {
namespace {

// Columns [first, first + count) of ids (rows,T).
Tensor columns(std::span<const std::int32_t> ids, std::int64_t rows, std::int64_t tokens,
               std::int64_t first, std::int64_t count) {
  const Tensor out({rows, count}, DType::i32);
  for (std::int64_t r = 0; r < rows; ++r)
    std::copy_n(ids.data() + r * tokens + first, count, out.data<std::int32_t>() + r * count);
  return out;
}

}  // namespace

Session::Session(Engine& engine, const Model& model, ParameterStore& weights,
                 const SessionOptions& options)
    : engine_(&engine), model_(&model), weights_(&weights), options_(options) {
  require(options.rows > 0 && options.piece_tokens > 0, ErrorCode::invalid_argument, "session of ",
          options.rows, " rows in pieces of ", options.piece_tokens,
          " tokens, wanted 1 or more of both");
  state_ = model.new_state(options.rows, weights.dtype());
  ids_.resize(static_cast<std::size_t>(options.rows));
}

bool Session::full() const {
  const std::int64_t learned = model_->config().positions;
  return learned > 0 && positions() >= learned;
}

std::span<const std::int32_t> Session::ids(std::int64_t row) const {
  require(row >= 0 && row < rows(), ErrorCode::invalid_argument, "session row ", row,
          ", wanted 0 to ", rows() - 1);
  return ids_[static_cast<std::size_t>(row)];
}

std::int64_t Session::state_bytes() const {
  std::int64_t bytes = 0;
  for (const State& s : state_)
    for (const auto& [name, field] : s.fields()) bytes += field.value.bytes();
  return bytes;
}

std::int64_t Session::tokens_of(std::span<const std::int32_t> ids) const {
  const auto count = static_cast<std::int64_t>(ids.size());
  require(count % rows() == 0, ErrorCode::shape_mismatch, "session of ", rows(), " rows got ",
          count, " ids, wanted as many for every row");
  const std::int64_t vocabulary = model_->config().vocabulary;
  for (const std::int32_t id : ids)
    require(id >= 0 && id < vocabulary, ErrorCode::invalid_argument, "session got the id ", id,
            ", wanted 0 to ", vocabulary - 1);
  return count / rows();
}

// (rows, count, d_model) of the next `count` tokens; the last of them stay in last_.
Tensor Session::features(std::span<const std::int32_t> ids, std::int64_t tokens, std::int64_t first,
                         std::int64_t count) {
  Context cx = engine_->context(*weights_);
  const Tensor f =
      model_->features(cx, columns(ids, rows(), tokens, first, count), {}, &state_).value;
  const std::int64_t D = f.shape()[2];
  last_ = Tensor({rows(), D}, f.dtype());
  with_scalar(f.dtype(), [&]<class S>() {
    for (std::int64_t r = 0; r < rows(); ++r)
      std::copy_n(f.data<S>() + ((r + 1) * count - 1) * D, D, last_.data<S>() + r * D);
  });
  for (std::int64_t r = 0; options_.keep_ids && r < rows(); ++r) {
    const auto* from = ids.data() + r * tokens + first;
    auto& to = ids_[static_cast<std::size_t>(r)];
    to.insert(to.end(), from, from + count);
  }
  return f;
}

void Session::prefill(std::span<const std::int32_t> ids) {
  const std::int64_t tokens = tokens_of(ids);
  for (std::int64_t first = 0; first < tokens; first += options_.piece_tokens) {
    if (first > 0 && interrupted())
      fail(ErrorCode::interrupted, "interrupted after ", first, " of ", tokens, " tokens");
    features(ids, tokens, first, std::min(options_.piece_tokens, tokens - first));
  }
}

Tensor Session::step(std::span<const std::int32_t> ids) {
  require(static_cast<std::int64_t>(ids.size()) == rows(), ErrorCode::shape_mismatch, "session of ",
          rows(), " rows got ", ids.size(), " ids, wanted one for every row");
  prefill(ids);
  return logits();
}

Tensor Session::logits() const {
  require(static_cast<bool>(last_), ErrorCode::invalid_argument,
          "a session that has read nothing expects nothing; give at least one token");
  Context cx = engine_->context(*weights_);
  // As one position of every row: decoding gives a row the same bits whatever stands beside it.
  const Tensor one = last_.reshaped({rows(), 1, last_.shape()[1]});
  return model_->head(cx, {one}).value.reshaped({rows(), model_->config().classes});
}

RowScores Session::score(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets) {
  const std::int64_t tokens = tokens_of(ids);
  require(targets.size() == ids.size(), ErrorCode::shape_mismatch, ids.size(), " ids and ",
          targets.size(), " targets, wanted one for each");
  RowScores all;
  all.loss.resize(ids.size());
  all.predicted.resize(ids.size());
  for (std::int64_t first = 0; first < tokens; first += options_.piece_tokens) {
    if (interrupted())
      fail(ErrorCode::interrupted, "interrupted after ", first, " of ", tokens, " tokens");
    const std::int64_t count = std::min(options_.piece_tokens, tokens - first);
    const Tensor f = features(ids, tokens, first, count);
    Context cx = engine_->context(*weights_);
    const RowScores piece =
        score_rows(cx, f, model_->head_weight(), {}, columns(targets, rows(), tokens, first, count),
                   model_->logit_soft_cap());
    for (std::int64_t r = 0; r < rows(); ++r) {
      std::copy_n(piece.loss.begin() + r * count, count, all.loss.begin() + r * tokens + first);
      std::copy_n(piece.predicted.begin() + r * count, count,
                  all.predicted.begin() + r * tokens + first);
    }
  }
  return all;
}

Session Session::select(std::span<const std::int64_t> rows) const {
  require(!rows.empty(), ErrorCode::invalid_argument, "selected no row of a session");
  SessionOptions options = options_;
  options.rows = static_cast<std::int64_t>(rows.size());
  Session out(*engine_, *model_, *weights_, options);
  for (std::size_t i = 0; i < state_.size(); ++i) out.state_[i] = state_[i].select(rows);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto own = ids(rows[r]);
    out.ids_[r].assign(own.begin(), own.end());
  }
  if (!last_) return out;
  const std::int64_t D = last_.shape()[1];
  out.last_ = Tensor({out.rows(), D}, last_.dtype());
  with_scalar(last_.dtype(), [&]<class S>() {
    for (std::int64_t r = 0; r < out.rows(); ++r)
      std::copy_n(last_.data<S>() + rows[static_cast<std::size_t>(r)] * D, D,
                  out.last_.data<S>() + r * D);
  });
  return out;
}

Session Session::fork(std::int64_t n) const {
  require(rows() == 1 && n > 0, ErrorCode::invalid_argument, "fork of a session of ", rows(),
          " rows into ", n, ", wanted one row into 1 or more");
  return select(std::vector<std::int64_t>(static_cast<std::size_t>(n), 0));
}

void Session::reset() { *this = Session(*engine_, *model_, *weights_, options_); }

}  // namespace subquad
