#include "subquad/quant/pack.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace subquad {
namespace {

constexpr std::int64_t kLeastColumns = 32, kTaskRows = 64;

// "blocks.3.mixer.in_proj.weight" -> "mixer.in_proj"
std::string class_of(const std::string& parameter) {
  std::string out;
  std::istringstream parts(parameter);
  for (std::string part; std::getline(parts, part, '.');) {
    if (part == "blocks" || part == "weight" || part.find_first_not_of("0123456789") == part.npos)
      continue;
    if (!out.empty()) out += '.';
    out += part;
  }
  return out;
}

void require_finite(const ParamInfo& p, const Tensor& values) {
  const auto all = values.host<float>();
  const auto bad = std::find_if(all.begin(), all.end(), [](float x) { return !std::isfinite(x); });
  if (bad == all.end()) return;
  const std::int64_t at = bad - all.begin();
  fail(ErrorCode::numeric, "weight ", p.name, ": row ", at / p.shape[-1], ", column ",
       at % p.shape[-1], " is ", *bad, ", wanted a number; such a model cannot be packed");
}

// Rows of int4 are padded to whole blocks: short ones are smaller in int8.
Packing smaller(Packing packing, std::int64_t ins) {
  const auto bytes = [&](Packing p) { return row_bytes(p, ins) + 4 * row_scales(p, ins); };
  return packing == Packing::int4 && bytes(Packing::int8) <= bytes(Packing::int4) ? Packing::int8
                                                                                  : packing;
}

PackedWeight packed(const ParamInfo& p, const Tensor& values, Packing packing,
                    ThreadPool& threads) {
  std::vector<PackedWeight::Run> runs;
  const std::int64_t ins = p.shape[-1];
  std::int64_t begin = 0;
  const auto add = [&](Packing how, std::int64_t end) {
    if (begin == end) return;
    const std::int64_t rows = end - begin, first = begin;
    runs.push_back(empty_run(how, rows, ins));
    threads.run((rows + kTaskRows - 1) / kTaskRows, [&](std::int64_t task, Scratch&) {
      const std::int64_t from = task * kTaskRows;
      pack_rows(values.data<float>() + (first + from) * ins, from, std::min(kTaskRows, rows - from),
                ins, runs.back());
    });
    begin = end;
  };
  for (const auto& [first, end] : p.exact_rows) {
    add(smaller(packing, ins), first);
    add(Packing::f32, end);
  }
  add(smaller(packing, ins), p.shape.rows());
  return {p.shape, std::move(runs)};
}

struct Squares {
  double error = 0, norm = 0;
  double relative() const { return norm > 0 ? std::sqrt(error / norm) : 0; }
};

Squares squares(const Tensor& exact, const Tensor& packed) {
  Squares s;
  const auto a = exact.host<float>(), b = packed.host<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), e = static_cast<double>(b[i]) - x;
    s.error += e * e;
    s.norm += x * x;
  }
  return s;
}

}  // namespace

bool packable(const ParamInfo& p) {
  return p.shape.rank == 2 && p.shape[1] >= kLeastColumns && p.name.ends_with(".weight") &&
         !p.name.ends_with("conv.weight");
}

Tensor exact_value(const ParameterStore& store, ParamId id) {
  const PackedWeight* packed = store.packed(id);
  return packed ? packed->unpacked() : store.value(id);
}

ParameterStore packed_store(const ParameterStore& from, Packing packing, ThreadPool& threads) {
  require(from.dtype() == DType::f32, ErrorCode::unsupported, "weights of ", name_of(from.dtype()),
          " cannot be packed, wanted f32");
  std::vector<Weight> weights;
  std::int32_t index = 0;
  for (const ParamInfo& p : from.plan().all()) {
    const Tensor values = exact_value(from, {index++});
    require_finite(p, values);
    if (packable(p)) {
      weights.emplace_back(packed(p, values, packing, threads));
    } else {
      weights.emplace_back(values);
    }
  }
  return ParameterStore::read_only(from.plan(), std::move(weights));
}

std::vector<PackingError> packing_errors(const ParameterStore& exact,
                                         const ParameterStore& packed) {
  std::vector<PackingError> classes;
  std::vector<Squares> sums;
  PackingError rest{.name = "(f32)"};
  std::int32_t index = 0;
  for (const ParamInfo& p : exact.plan().all()) {
    const ParamId id{index++};
    const PackedWeight* weight = packed.packed(id);
    if (!weight) {
      rest.parameters += p.shape.numel();
      rest.bytes += 4 * p.shape.numel();
      continue;
    }
    const std::string name = class_of(p.name);
    auto at = std::find_if(classes.begin(), classes.end(),
                           [&](const PackingError& c) { return c.name == name; });
    if (at == classes.end()) {
      at = classes.insert(at, PackingError{.name = name});
      sums.emplace_back();
    }
    Squares& sum = sums[static_cast<std::size_t>(at - classes.begin())];
    const Squares s = squares(exact_value(exact, id), weight->unpacked());
    sum.error += s.error;
    sum.norm += s.norm;
    at->parameters += p.shape.numel();
    at->bytes += weight->bytes();
    at->relative_error = sum.relative();
    if (at->worst.empty() || s.relative() > at->worst_error) {
      at->worst = p.name;
      at->worst_error = s.relative();
    }
  }
  classes.push_back(rest);
  return classes;
}

}  // namespace subquad
