#include "subquad/tensor/packed.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "subquad/base/round.h"

namespace subquad {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// As round_to_bf16() of the back end, to the stored half.
std::uint16_t bf16_bits(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

bool all_finite(const float* x, std::int64_t n) {
  return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

float largest_magnitude(const float* x, std::int64_t n) {
  float most = 0;
  for (std::int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(x[i]));
  return most;
}

// To the nearest whole number, ties to even, for |x| < 2^22; without a call, so that loops of it
// become vectors.
float rounded(float x) { return (x + 0x1.8p23F) - 0x1.8p23F; }

// Scales below this are not worth their few bits: what they belong to is stored as zeros.
constexpr float kLeastScale = std::numeric_limits<float>::min();

float pack_int8(const float* x, std::int64_t n, std::int8_t* codes) {
  std::fill_n(codes, n, std::int8_t{0});
  if (!all_finite(x, n)) return kNaN;
  const float scale = largest_magnitude(x, n) / 127;
  if (scale < kLeastScale) return 0;
  for (std::int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<std::int8_t>(rounded(std::clamp(x[i] / scale, -127.0F, 127.0F)));
  return scale;
}

// The code of an element, -8 to 7, times 1.
float int4_code(float x, float inverse_scale) {
  return rounded(std::clamp(x * inverse_scale, -8.0F, 7.0F));
}

float squared_error(const float* x, float scale) {  // of a group
  constexpr int kLanes = 8;
  float error[kLanes] = {};
  const float inverse = 1 / scale;
  for (std::int64_t i = 0; i < kInt4Group; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float e = int4_code(x[i + l], inverse) * scale - x[i + l];
      error[l] += e * e;
    }
  }
  float sum = 0;
  for (const float e : error) sum += e;
  return sum;
}

// The code -8 has no positive partner: the sign of the scale gives it to the largest element.
float int4_scale(const float* x) {
  if (!all_finite(x, kInt4Group)) return kNaN;
  const float most = largest_magnitude(x, kInt4Group);
  if (most / 8 < kLeastScale) return 0;
  const float* at = std::find_if(x, x + kInt4Group, [&](float v) { return std::abs(v) == most; });
  const float signed_most = *at > 0 ? -most : most;
  // Squares of huge or tiny elements leave the range of f32: the first is as good as any then.
  float best = signed_most / 8, least = squared_error(x, best);
  for (int i = 1; i < 16; ++i) {
    const float scale = signed_most / (8 - 0.1F * static_cast<float>(i));
    const float error = squared_error(x, scale);
    if (error < least) {
      best = scale;
      least = error;
    }
  }
  return best;
}

void pack_int4(const float* x, std::int64_t n, std::uint32_t* words, float* scales) {
  for (std::int64_t block = 0; block < n; block += kInt4Block, words += 16) {
    std::fill_n(words, 16, 0x88888888U);
    for (std::int64_t first = block; first < std::min(n, block + kInt4Block); first += kInt4Group) {
      float group[kInt4Group] = {};
      std::copy_n(x + first, std::min(kInt4Group, n - first), group);
      const float scale = scales[first / kInt4Group] = int4_scale(group);
      if (scale == 0 || std::isnan(scale)) continue;
      for (std::int64_t i = 0; i < kInt4Group; ++i) {
        const auto code = static_cast<std::uint32_t>(int4_code(group[i], 1 / scale) + 8);
        const std::int64_t e = first - block + i;
        std::uint32_t& word = words[e % 16];
        word = (word & ~(15U << (4 * (e / 16)))) | code << (4 * (e / 16));
      }
    }
  }
}

}  // namespace

Packing packing_named(std::string_view name) {
  for (const Packing p : {Packing::f32, Packing::bf16, Packing::int8, Packing::int4}) {
    if (name == name_of(p)) return p;
  }
  fail(ErrorCode::invalid_argument, "weights \"", name, "\", wanted f32, bf16, int8 or int4");
}

std::string_view name_of(Packing packing) {
  switch (packing) {
    case Packing::f32: return "f32";
    case Packing::bf16: return "bf16";
    case Packing::int8: return "int8";
    case Packing::int4: return "int4";
  }
  return "?";
}

std::int64_t row_bytes(Packing packing, std::int64_t ins) {
  switch (packing) {
    case Packing::f32: return 4 * ins;
    case Packing::bf16: return 2 * ins;
    case Packing::int8: return ins;
    case Packing::int4: return round_up(ins, kInt4Block) / 2;
  }
  return 0;
}

std::int64_t row_scales(Packing packing, std::int64_t ins) {
  if (packing == Packing::int8) return 1;
  return packing == Packing::int4 ? round_up(ins, kInt4Block) / kInt4Group : 0;
}

PackedRows PackedRows::part(std::int64_t first, std::int64_t count) const {
  PackedRows p = *this;
  p.codes += first * stride;
  if (p.scales) p.scales += first * scales_stride;
  p.rows = count;
  return p;
}

float PackedRows::at(std::int64_t r, std::int64_t k) const {
  const std::byte* codes_of_row = row(r);
  switch (packing) {
    case Packing::f32: {
      float x;
      std::memcpy(&x, codes_of_row + 4 * k, 4);
      return x;
    }
    case Packing::bf16: {
      std::uint16_t bits;
      std::memcpy(&bits, codes_of_row + 2 * k, 2);
      return std::bit_cast<float>(std::uint32_t{bits} << 16);
    }
    case Packing::int8:
      return row_of_scales(r)[0] * static_cast<float>(static_cast<std::int8_t>(codes_of_row[k]));
    case Packing::int4: {
      const std::int64_t block = k / kInt4Block, e = k % kInt4Block;
      std::uint32_t word;
      std::memcpy(&word, codes_of_row + 64 * block + 4 * (e % 16), 4);
      const auto code = static_cast<int>(word >> (4 * (e / 16)) & 15) - 8;
      return row_of_scales(r)[k / kInt4Group] * static_cast<float>(code);
    }
  }
  return 0;
}

PackedWeight::PackedWeight(Shape shape, std::vector<Run> runs)
    : shape_(shape), runs_(std::make_shared<const std::vector<Run>>(std::move(runs))) {
  std::int64_t rows = 0;
  for (const Run& run : *runs_) {
    const std::int64_t n = run.codes.shape()[0], scales = row_scales(run.packing, shape[-1]);
    require(run.codes.bytes() == n * row_bytes(run.packing, shape[-1]) &&
                (scales == 0 || run.scales.numel() == n * scales),
            ErrorCode::internal, "codes of shape ", run.codes.shape(), " for ",
            name_of(run.packing), " rows of ", shape[-1]);
    rows += n;
  }
  require(rows == shape.rows(), ErrorCode::internal, rows, " packed rows for shape ", shape);
}

PackedRows PackedWeight::rows_of(const Run& run) const {
  const std::int64_t ins = shape_[-1], scales = row_scales(run.packing, ins);
  return {run.packing,
          static_cast<const std::byte*>(run.codes.raw()),
          scales ? run.scales.data<float>() : nullptr,
          run.codes.shape()[0],
          ins,
          row_bytes(run.packing, ins),
          scales};
}

std::int64_t PackedWeight::bytes() const {
  std::int64_t bytes = 0;
  for (const Run& run : *runs_) bytes += run.codes.bytes() + (run.scales ? run.scales.bytes() : 0);
  return bytes;
}

std::string_view PackedWeight::packing_name() const {
  const auto largest = std::max_element(runs_->begin(), runs_->end(), [](auto& a, auto& b) {
    return a.codes.shape()[0] < b.codes.shape()[0];
  });
  return largest == runs_->end() ? "f32" : name_of(largest->packing);
}

Tensor PackedWeight::unpacked() const {
  Tensor out(shape_, DType::f32);
  float* to = out.data<float>();
  for_runs(0, shape_.rows(), [&](const PackedRows& rows, std::int64_t) {
    for (std::int64_t r = 0; r < rows.rows; ++r) {
      for (std::int64_t k = 0; k < rows.ins; ++k) *to++ = rows.at(r, k);
    }
  });
  return out;
}

PackedWeight::Run empty_run(Packing packing, std::int64_t rows, std::int64_t ins) {
  PackedWeight::Run run{packing, {}, {}};
  switch (packing) {
    case Packing::f32: run.codes = Tensor({rows, ins}, DType::f32); break;
    case Packing::bf16: run.codes = Tensor({rows, ins}, DType::bf16); break;
    case Packing::int8: run.codes = Tensor({rows, ins}, DType::i8); break;
    case Packing::int4: run.codes = Tensor({rows, row_bytes(packing, ins)}, DType::u8); break;
  }
  const std::int64_t scales = row_scales(packing, ins);
  if (scales) run.scales = Tensor::zeros({rows, scales}, DType::f32);
  return run;
}

void pack_rows(const float* from, std::int64_t first, std::int64_t rows, std::int64_t ins,
               const PackedWeight::Run& to) {
  const std::int64_t bytes = row_bytes(to.packing, ins), scales = row_scales(to.packing, ins);
  auto* codes = static_cast<std::byte*>(to.codes.raw()) + first * bytes;
  float* scale = scales ? to.scales.data<float>() + first * scales : nullptr;
  for (std::int64_t r = 0; r < rows; ++r, from += ins, codes += bytes, scale += scales) {
    switch (to.packing) {
      case Packing::f32: std::memcpy(codes, from, static_cast<std::size_t>(bytes)); break;
      case Packing::bf16:
        std::transform(from, from + ins, reinterpret_cast<std::uint16_t*>(codes), bf16_bits);
        break;
      case Packing::int8:
        *scale = pack_int8(from, ins, reinterpret_cast<std::int8_t*>(codes));
        break;
      case Packing::int4:
        pack_int4(from, ins, reinterpret_cast<std::uint32_t*>(codes), scale);
        break;
    }
  }
}

}  // namespace subquad
