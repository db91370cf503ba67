#include "subquad/nn/state.h"

#include <cstring>

namespace subquad {
namespace {

Shape with_batch(const StateField& field, std::int64_t batch, std::int64_t positions) {
  Shape s{batch};
  if (field.grows_with_time) s.dims[static_cast<std::size_t>(s.rank++)] = positions;
  require(s.rank + field.per_sequence.rank <= Shape::kMaxRank, ErrorCode::internal, "state field ",
          field.name, " has too many dimensions");
  for (int i = 0; i < field.per_sequence.rank; ++i) {
    s.dims[static_cast<std::size_t>(s.rank++)] = field.per_sequence[i];
  }
  return s;
}

}  // namespace

std::int64_t state_bytes(const StateSpec& spec, std::int64_t positions, DType dtype) {
  std::int64_t bytes = 0;
  for (const StateField& f : spec) bytes += with_batch(f, 1, positions).numel() * size_of(dtype);
  return bytes;
}

State::State(const StateSpec& spec, std::int64_t batch, DType dtype) : batch_(batch) {
  for (const StateField& f : spec) {
    fields_[f.name] = Var{Tensor::zeros(with_batch(f, batch, 0), dtype)};
  }
}

Var& State::operator[](const std::string& field) {
  const auto it = fields_.find(field);
  require(it != fields_.end(), ErrorCode::internal, "state has no field ", field);
  return it->second;
}

const Var& State::operator[](const std::string& field) const {
  return const_cast<State&>(*this)[field];
}

State State::select(std::span<const std::int64_t> rows) const {
  State out;
  out.batch_ = static_cast<std::int64_t>(rows.size());
  out.positions_ = positions_;
  for (const auto& [name, var] : fields_) {
    Shape s = var.shape();
    s.dims[0] = out.batch_;
    Tensor t(s, var.value.dtype());
    const auto stride = static_cast<std::size_t>(batch_ ? var.value.bytes() / batch_ : 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      require(rows[i] >= 0 && rows[i] < batch_, ErrorCode::invalid_argument, "state row ", rows[i],
              ", wanted 0 to ", batch_ - 1);
      std::memcpy(static_cast<std::byte*>(t.raw()) + i * stride,
                  static_cast<const std::byte*>(var.value.raw()) +
                      static_cast<std::size_t>(rows[i]) * stride,
                  stride);
    }
    out.fields_[name] = Var{t};
  }
  return out;
}

void State::reset(std::int64_t row) {
  require(row >= 0 && row < batch_, ErrorCode::invalid_argument, "state row ", row,
          ", wanted 0 to ", batch_ - 1);
  for (auto& [name, var] : fields_) {
    const auto stride = static_cast<std::size_t>(var.value.bytes() / batch_);
    Tensor t = var.value.clone();
    std::memset(static_cast<std::byte*>(t.raw()) + static_cast<std::size_t>(row) * stride, 0,
                stride);
    var = Var{t};
  }
}

void State::detach() {
  for (auto& [name, var] : fields_) var.node = -1;
}

}  // namespace subquad
