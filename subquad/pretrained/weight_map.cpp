#include "subquad/pretrained/weight_map.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>

#include "subquad/io/json.h"
#include "subquad/pretrained/stored_weights.h"

namespace subquad {
namespace {

// Calls run(ours, first, stride, count) for the innermost loops: our elements [ours, ours + count)
// are the published ones first, first + stride, ...
template <class Run>
std::int64_t for_each_run(const Piece& piece, std::int64_t ours, Run&& run) {
  if (piece.loops.empty()) {
    run(ours, std::int64_t{0}, std::int64_t{1}, piece.shape.numel());
    return ours + piece.shape.numel();
  }
  const auto descend = [&](auto&& self, std::size_t level, std::int64_t first) -> void {
    const Loop& loop = piece.loops[level];
    if (level + 1 == piece.loops.size()) {
      run(ours, first, loop.stride, loop.count);
      ours += loop.count;
      return;
    }
    for (std::int64_t i = 0; i < loop.count; ++i) self(self, level + 1, first + i * loop.stride);
  };
  descend(descend, 0, piece.first);
  return ours;
}

std::unordered_map<std::string, const ParamInfo*> by_name(const ParameterPlan& plan) {
  std::unordered_map<std::string, const ParamInfo*> found;
  for (const ParamInfo& p : plan.all()) found.emplace(p.name, &p);
  return found;
}

// The published tensors of a map; a tensor in several pieces has one shape.
std::map<std::string, Shape> tensors_of(const WeightMap& map) {
  std::map<std::string, Shape> tensors;
  for (const MappedParameter& m : map) {
    for (const Piece& p : m.pieces) {
      const auto [at, fresh] = tensors.emplace(p.tensor, p.shape);
      require(fresh || at->second == p.shape, ErrorCode::internal, "tensor ", p.tensor,
              " mapped with shapes ", at->second, " and ", p.shape);
    }
  }
  return tensors;
}

}  // namespace

Piece Piece::whole(std::string tensor, Shape shape) { return {std::move(tensor), shape}; }

Piece Piece::rows(std::string tensor, Shape shape, std::int64_t first, std::int64_t count) {
  return grouped_rows(std::move(tensor), shape, 1, first, count);
}

Piece Piece::grouped_rows(std::string tensor, Shape shape, std::int64_t groups, std::int64_t first,
                          std::int64_t count) {
  const std::int64_t row = shape.numel() / shape[0], group = shape[0] / groups * row;
  return {std::move(tensor), shape, first * row, {{groups, group}, {count * row, 1}}};
}

Piece Piece::transposed(std::string tensor, Shape shape) {
  return {std::move(tensor), shape, 0, {{shape[1], 1}, {shape[0], shape[1]}}};
}

std::int64_t Piece::count() const {
  if (loops.empty()) return shape.numel();
  std::int64_t n = 1;
  for (const Loop& loop : loops) n *= loop.count;
  return n;
}

void check_weights(const WeightFiles& files, const WeightMap& map,
                   const std::vector<std::string>& spare, const std::string& family, bool packed) {
  const std::map<std::string, Shape> wanted = tensors_of(map);
  std::vector<std::string> names;
  for (const auto& [name, shape] : wanted) names.push_back(name);
  for (const std::string& name : files.names()) {
    if (wanted.contains(name) || std::find(spare.begin(), spare.end(), name) != spare.end())
      continue;
    const std::string near = nearest_key(name, names);
    fail(ErrorCode::format, files.file_of(name), ": tensor ", name, " has no place in this ",
         family, " model", near.empty() ? "" : "; nearest is " + near);
  }
  for (const auto& [name, shape] : wanted) {
    require(files.contains(name), ErrorCode::format, files.folder(), ": tensor ", name,
            " is missing, wanted shape ", shape);
    const Safetensors::Entry& e = files.entry(name);
    if (packed && size_of(e.dtype) == 1) {
      check_stored(files, name, shape);
      continue;
    }
    require(e.shape == shape, ErrorCode::format, files.file_of(name), ": tensor ", name,
            " of shape ", e.shape, ", wanted ", shape, " by the configuration");
    require(e.dtype == DType::f64 || e.dtype == DType::f32 || e.dtype == DType::bf16 ||
                e.dtype == DType::f16,
            ErrorCode::format, files.file_of(name), ": tensor ", name, " holds ", name_of(e.dtype),
            ", wanted f64, f32, bf16 or f16");
  }
}

void check_complete(const WeightMap& map, const ParameterPlan& plan) {
  const auto parameters = by_name(plan);
  require(map.size() == parameters.size(), ErrorCode::internal, map.size(),
          " mapped parameters of ", parameters.size());
  std::map<std::string, std::int64_t> taken;
  std::set<std::string> filled;
  for (const MappedParameter& m : map) {
    const auto at = parameters.find(m.parameter);
    require(at != parameters.end() && filled.insert(m.parameter).second, ErrorCode::internal,
            "mapped parameter ", m.parameter, " is unknown or mapped twice");
    std::int64_t elements = 0;
    for (const Piece& p : m.pieces) {
      elements += p.count();
      taken[p.tensor] += p.count();
    }
    require(elements == at->second->shape.numel(), ErrorCode::internal, "parameter ", m.parameter,
            " of shape ", at->second->shape, " gets ", elements, " elements");
  }
  for (const auto& [name, shape] : tensors_of(map)) {
    require(taken[name] == shape.numel(), ErrorCode::internal, "tensor ", name, " of shape ", shape,
            ": ", taken[name], " elements are mapped");
  }
}

template <class T>
void read_piece(const WeightFiles& files, const Piece& piece, std::span<T> to) {
  for_each_run(piece, 0,
               [&](std::int64_t ours, std::int64_t first, std::int64_t stride, std::int64_t count) {
                 files.read_elements<T>(
                     piece.tensor, first, stride,
                     to.subspan(static_cast<std::size_t>(ours), static_cast<std::size_t>(count)));
               });
}
template void read_piece(const WeightFiles&, const Piece&, std::span<float>);
template void read_piece(const WeightFiles&, const Piece&, std::span<double>);

namespace {

template <class T>
void read_pieces(const WeightFiles& files, const MappedParameter& m, T* to) {
  for (const Piece& p : m.pieces) {
    const Safetensors::Entry& e = files.entry(p.tensor);
    require(size_of(e.dtype) > 1, ErrorCode::unsupported, files.file_of(p.tensor), ": tensor ",
            p.tensor, " is stored in ", e.dtype == DType::i8 ? "int8" : "int4",
            ", which runs but cannot be trained or exported; wanted the model it was made from");
    read_piece<T>(files, p, {to, static_cast<std::size_t>(p.count())});
    to += p.count();
  }
}

}  // namespace

Tensor read_parameter(const WeightFiles& files, const MappedParameter& m, const ParamInfo& p) {
  Tensor t(p.shape, DType::f32);
  read_pieces(files, m, t.data<float>());
  return t;
}

void load_weights(const WeightFiles& files, const WeightMap& map, const ParameterStore& store) {
  const auto parameters = by_name(store.plan());
  with_scalar(store.dtype(), [&]<class T>() {
    for (const MappedParameter& m : map) {
      read_pieces(files, m, store.flat_values().data<T>() + parameters.at(m.parameter)->offset);
    }
  });
}

NamedTensors published_tensors(const WeightMap& map, const ParameterPlan& plan,
                               const Tensor& flat) {
  const auto parameters = by_name(plan);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, shape] : tensors_of(map)) {
    tensors.emplace(name, Tensor::zeros(shape, flat.dtype()));
  }
  with_scalar(flat.dtype(), [&]<class T>() {
    for (const MappedParameter& m : map) {
      const T* from = flat.data<T>() + parameters.at(m.parameter)->offset;
      std::int64_t at = 0;
      for (const Piece& p : m.pieces) {
        T* to = tensors.at(p.tensor).template data<T>();
        at = for_each_run(
            p, at,
            [&](std::int64_t ours, std::int64_t first, std::int64_t stride, std::int64_t count) {
              for (std::int64_t i = 0; i < count; ++i) to[first + i * stride] = from[ours + i];
            });
      }
    }
  });
  return {tensors.begin(), tensors.end()};
}

}  // namespace subquad
