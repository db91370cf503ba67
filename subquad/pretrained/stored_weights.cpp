#include "subquad/pretrained/stored_weights.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "subquad/quant/pack.h"

namespace subquad {
namespace {

// Elements [piece.first, ...) in order.
bool contiguous(const Piece& piece) {
  if (piece.loops.empty()) return true;
  return std::all_of(piece.loops.begin(), piece.loops.end() - 1,
                     [](const Loop& l) { return l.count == 1; }) &&
         piece.loops.back().stride == 1;
}

void check_scales(const WeightFiles& files, const std::string& tensor, const Shape& wanted) {
  const std::string name = scales_name(tensor);
  require(files.contains(name), ErrorCode::format, files.file_of(tensor), ": tensor ", name,
          " is missing, wanted the scales of ", tensor, ", F32 of shape ", wanted);
  const Safetensors::Entry& e = files.entry(name);
  require(e.dtype == DType::f32 && e.shape == wanted, ErrorCode::format, files.file_of(name),
          ": tensor ", name, " holds ", name_of(e.dtype), " of shape ", e.shape,
          ", wanted f32 of shape ", wanted);
}

// Rows of `ins` elements as they lie in a file; nothing if they do not lie so.
std::optional<PackedWeight::Run> run_in_place(const WeightFiles& files, const Piece& piece,
                                              std::int64_t ins) {
  const Safetensors::Entry& e = files.entry(piece.tensor);
  const std::int64_t rows = piece.count() / ins, first = piece.first / ins;
  if (!contiguous(piece) || piece.first % ins != 0 || piece.count() % ins != 0) return {};
  if (e.dtype == DType::f32 || e.dtype == DType::bf16) {
    return PackedWeight::Run{e.dtype == DType::f32 ? Packing::f32 : Packing::bf16,
                             files.in_place(piece.tensor).slice(piece.first, {rows, ins}),
                             {}};
  }
  if (e.dtype != DType::i8 && e.dtype != DType::u8) return {};
  const Packing packing = check_stored(files, piece.tensor, piece.shape);
  return PackedWeight::Run{packing, files.in_place(piece.tensor).rows(first, rows),
                           files.in_place(scales_name(piece.tensor)).rows(first, rows)};
}

// bf16 elements in another order, as bf16 again: widening and rounding back is exact.
PackedWeight::Run bf16_copy(const WeightFiles& files, const Piece& piece, std::int64_t ins) {
  const std::int64_t rows = piece.count() / ins;
  Tensor wide({rows, ins}, DType::f32);
  read_piece<float>(files, piece, wide.host<float>());
  PackedWeight::Run run = empty_run(Packing::bf16, rows, ins);
  pack_rows(wide.data<float>(), 0, rows, ins, run);
  return run;
}

Weight stored_matrix(const WeightFiles& files, const MappedParameter& m, const ParamInfo& p) {
  const std::int64_t ins = p.shape[-1];
  std::vector<PackedWeight::Run> runs;
  for (const Piece& piece : m.pieces) {
    if (auto run = run_in_place(files, piece, ins)) {
      runs.push_back(std::move(*run));
    } else if (files.entry(piece.tensor).dtype == DType::bf16 && piece.count() % ins == 0) {
      runs.push_back(bf16_copy(files, piece, ins));
    } else {
      return read_parameter(files, m, p);
    }
  }
  if (runs.size() == 1 && runs[0].packing == Packing::f32) return runs[0].codes.reshaped(p.shape);
  return PackedWeight(p.shape, std::move(runs));
}

Weight stored_weight(const WeightFiles& files, const MappedParameter& m, const ParamInfo& p) {
  if (packable(p)) return stored_matrix(files, m, p);
  const Piece& piece = m.pieces.front();
  if (m.pieces.size() == 1 && contiguous(piece) && files.entry(piece.tensor).dtype == DType::f32)
    return files.in_place(piece.tensor).slice(piece.first, p.shape);
  return read_parameter(files, m, p);
}

}  // namespace

std::string scales_name(const std::string& tensor) { return std::string(tensor).append(".scale"); }
std::string run_name(const std::string& parameter, std::size_t run) {
  return std::string(parameter).append(".rows.").append(std::to_string(run));
}

Packing check_stored(const WeightFiles& files, const std::string& tensor, const Shape& shape) {
  const Safetensors::Entry& e = files.entry(tensor);
  const bool matrix = shape.rank == 2;
  if (matrix && e.dtype == DType::i8 && e.shape == shape) {
    check_scales(files, tensor, {shape[0], 1});
    return Packing::int8;
  }
  if (matrix && e.dtype == DType::u8) {
    const Shape wanted = {shape[0], row_bytes(Packing::int4, shape[1])};
    require(e.shape == wanted, ErrorCode::format, files.file_of(tensor), ": tensor ", tensor,
            " of shape ", e.shape, ", wanted ", wanted, ": int4 codes of ", shape);
    check_scales(files, tensor, {shape[0], row_scales(Packing::int4, shape[1])});
    return Packing::int4;
  }
  require(e.shape == shape, ErrorCode::format, files.file_of(tensor), ": tensor ", tensor,
          " of shape ", e.shape, ", wanted ", shape);
  return e.dtype == DType::bf16 ? Packing::bf16 : Packing::f32;
}

ParameterStore stored_weights(const WeightFiles& files, const WeightMap& map,
                              const ParameterPlan& plan) {
  std::unordered_map<std::string, const MappedParameter*> by_name;
  for (const MappedParameter& m : map) by_name.emplace(m.parameter, &m);
  std::vector<Weight> weights;
  for (const ParamInfo& p : plan.all())
    weights.push_back(stored_weight(files, *by_name.at(p.name), p));
  return ParameterStore::read_only(plan, std::move(weights));
}

NamedTensors named_weights(const ParameterStore& store) {
  NamedTensors named;
  std::int32_t index = 0;
  for (const ParamInfo& p : store.plan().all()) {
    const ParamId id{index++};
    const PackedWeight* packed = store.packed(id);
    if (!packed) {
      named.emplace_back(p.name, store.value(id));
      continue;
    }
    for (std::size_t i = 0; i < packed->runs().size(); ++i) {
      const PackedWeight::Run& run = packed->runs()[i];
      const std::string name = packed->runs().size() == 1 ? p.name : run_name(p.name, i);
      named.emplace_back(name, run.codes);
      if (run.scales) named.emplace_back(scales_name(name), run.scales);
    }
  }
  // Wide types first, so that every tensor is aligned to its elements.
  std::stable_sort(named.begin(), named.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });
  return named;
}

}  // namespace subquad
