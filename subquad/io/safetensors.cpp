#include "subquad/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "subquad/io/json.h"

namespace subquad {
namespace {

// The format's own limits are 100 MB and none; a model of 65536 tensors has a header of 8 MB.
constexpr std::uint64_t kMaxHeader = 16 << 20;
constexpr std::size_t kMaxTensors = 65536, kMaxName = 512;
// Depth 3: the header, an entry, its lists. Metadata are few.
constexpr JsonLimits kHeaderLimits{.depth = 3, .values = 10 * kMaxTensors};

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

DType dtype_from(const std::string& name, const std::string& where) {
  for (const auto& [text, dtype] : {std::pair{"F64", DType::f64},
                                    {"F32", DType::f32},
                                    {"BF16", DType::bf16},
                                    {"F16", DType::f16},
                                    {"I64", DType::i64},
                                    {"I32", DType::i32},
                                    {"I8", DType::i8},
                                    {"U8", DType::u8}}) {
    if (name == text) return dtype;
  }
  fail(ErrorCode::unsupported, where, ": dtype ", name,
       ", wanted F64, F32, BF16, F16, I64, I32, I8 or U8");
}

// IEEE 754 half precision: 1 sign, 5 exponent (bias 15), 10 fraction bits; exact in f32.
float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 31U,
                      fraction = bits & 1023U;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

std::string dtype_text(DType t) {
  switch (t) {
    case DType::f64: return "F64";
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::f16: return "F16";
    case DType::i64: return "I64";
    case DType::i32: return "I32";
    case DType::i8: return "I8";
    case DType::u8: return "U8";
  }
  return "";
}

// Names come back in errors and file names: no control characters, nothing endless.
void check_name(const std::string& name, const std::string& path) {
  require(!name.empty() && name.size() <= kMaxName, ErrorCode::format, path,
          ": a tensor's name of ", name.size(), " bytes, wanted 1 to ", kMaxName);
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  require(printable, ErrorCode::format, path,
          ": a tensor's name with a character that is not printable ASCII: ", Json(name).dump());
}

// A whole number that is written as one.
std::int64_t whole(const Json& value) {
  require(value.is_int(), ErrorCode::format, "got ", value.type_name(), ", wanted an integer");
  return value.as_int();
}

void check_keys(const Json& entry) {
  for (const auto& [key, value] : entry.as_object()) {
    require(key == "dtype" || key == "shape" || key == "data_offsets", ErrorCode::format,
            "unknown key ", Json(key).dump(), ", wanted dtype, shape and data_offsets");
  }
}

}  // namespace

Safetensors::Safetensors(const std::string& path)
    : path_(path), file_(std::make_shared<const MappedFile>(path)) {
  const auto bytes = file_->bytes();
  std::uint64_t header_size = 0;
  require(bytes.size() >= 8, ErrorCode::format, path, ": ", bytes.size(),
          " bytes, too short for a safetensors file");
  std::memcpy(&header_size, bytes.data(), 8);
  require(header_size <= bytes.size() - 8, ErrorCode::format, path, ": header of ", header_size,
          " bytes in a file of ", bytes.size(), ": truncated or not safetensors");
  require(header_size <= kMaxHeader, ErrorCode::format, path, ": header of ", header_size,
          " bytes, wanted at most ", kMaxHeader);
  require(header_size > 0 && bytes[8] == std::byte{'{'}, ErrorCode::format, path,
          ": the header does not start with {: not a safetensors file");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  data_ = bytes.subspan(8 + header_size);
  const Json header = Json::parse(text, path, kHeaderLimits);
  require(header.size() <= kMaxTensors, ErrorCode::format, path, ": ", header.size(),
          " tensors, wanted at most ", kMaxTensors);
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  for (const auto& [name, value] : header.as_object()) {
    if (name == "__metadata__") {
      read_metadata(value);
      continue;
    }
    check_name(name, path);
    const std::string where = path + ": tensor " + name;
    try {
      Entry e;
      check_keys(value);
      e.dtype = dtype_from(value.at("dtype").as_string(), where);
      const auto& dims = value.at("shape").as_array();
      require(dims.size() <= Shape::kMaxRank, ErrorCode::unsupported, where, " has rank ",
              dims.size(), ", wanted at most ", Shape::kMaxRank);
      for (const Json& d : dims) {
        require(whole(d) >= 0, ErrorCode::format, where, " has dimension ", d.as_int());
        e.shape.dims[static_cast<std::size_t>(e.shape.rank++)] = d.as_int();
      }
      const Json& offsets = value.at("data_offsets");
      e.begin = whole(offsets[0]);
      e.end = whole(offsets[1]);
      const auto size = static_cast<std::int64_t>(data_.size());
      require(offsets.size() == 2 && e.begin >= 0 && e.begin <= e.end && e.end <= size,
              ErrorCode::format, where, ": bytes ", e.begin, " to ", e.end,
              " of a data section of ", size, ": the file is truncated or damaged");
      require(e.shape.numel() <= size && e.end - e.begin == e.shape.numel() * size_of(e.dtype),
              ErrorCode::format, where, ": ", e.end - e.begin, " bytes for shape ", e.shape);
      ranges.emplace_back(e.begin, e.end);
      entries_.emplace(name, e);
    } catch (Error& error) {
      if (std::string_view(error.what()).find(path) == std::string_view::npos)
        error.add_context(where);
      throw;
    }
  }
  std::sort(ranges.begin(), ranges.end());
  std::int64_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    require(begin >= covered, ErrorCode::format, path, ": tensors overlap at byte ", begin);
    require(begin == covered, ErrorCode::format, path, ": bytes ", covered, " to ", begin,
            " of the data section belong to no tensor");
    covered = end;
  }
  require(covered == static_cast<std::int64_t>(data_.size()), ErrorCode::format, path,
          ": the data section has ", data_.size(), " bytes, its tensors end at ", covered);
}

void Safetensors::read_metadata(const Json& value) {
  try {
    for (const auto& [k, v] : value.as_object()) metadata_[k] = v.as_string();
  } catch (Error& e) {
    e.add_context(path_ + ": __metadata__");
    throw;
  }
}

Tensor Safetensors::read(const std::string& name) const {
  const auto it = entries_.find(name);
  require(it != entries_.end(), ErrorCode::format, path_, ": no tensor named ", name);
  Tensor t(it->second.shape, it->second.dtype);
  std::memcpy(t.raw(), data_.data() + it->second.begin, static_cast<std::size_t>(t.bytes()));
  return t;
}

Tensor Safetensors::in_place(const std::string& name) const {
  const auto it = entries_.find(name);
  require(it != entries_.end(), ErrorCode::format, path_, ": no tensor named ", name);
  const std::byte* at = data_.data() + it->second.begin;
  const auto unit = static_cast<std::uintptr_t>(size_of(it->second.dtype));
  if (reinterpret_cast<std::uintptr_t>(at) % unit != 0) return read(name);
  return Tensor::borrowed(it->second.shape, it->second.dtype,
                          std::shared_ptr<const std::byte>(file_, at));
}

Tensor Safetensors::read_as(const std::string& name, DType dtype) const {
  const auto it = entries_.find(name);
  require(it != entries_.end(), ErrorCode::format, path_, ": no tensor named ", name);
  const Tensor to(it->second.shape, dtype);
  with_scalar(dtype, [&]<class T>() { read_elements(name, 0, 1, to.host<T>()); });
  return to;
}

template <class T>
void Safetensors::read_elements(const std::string& name, std::int64_t first, std::int64_t stride,
                                std::span<T> to) const {
  const auto it = entries_.find(name);
  require(it != entries_.end(), ErrorCode::format, path_, ": no tensor named ", name);
  const Entry& e = it->second;
  const auto count = static_cast<std::int64_t>(to.size());
  if (count == 0) return;
  require(first >= 0 && stride >= 0 && first + (count - 1) * stride < e.shape.numel(),
          ErrorCode::internal, path_, ": tensor ", name, " of shape ", e.shape, ": elements from ",
          first, ", ", count, " of them, ", stride, " apart");
  const std::byte* from = data_.data() + e.begin + first * size_of(e.dtype);
  const auto each = [&]<class U>(auto&& value_of) {
    for (std::int64_t i = 0; i < count; ++i) {
      U stored;  // the file promises no alignment
      std::memcpy(&stored, from + i * stride * static_cast<std::int64_t>(sizeof(U)), sizeof(U));
      to[static_cast<std::size_t>(i)] = static_cast<T>(value_of(stored));
    }
  };
  const auto itself = [](auto x) { return x; };
  if (e.dtype == dtype_of<T>() && stride == 1) {
    std::memcpy(to.data(), from, to.size_bytes());
    return;
  }
  switch (e.dtype) {
    case DType::f64: return each.template operator()<double>(itself);
    case DType::f32: return each.template operator()<float>(itself);
    case DType::bf16:
      return each.template operator()<std::uint16_t>(
          [](std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); });
    case DType::f16: return each.template operator()<std::uint16_t>(from_f16);
    default:
      fail(ErrorCode::format, path_, ": tensor ", name, " holds ", name_of(e.dtype),
           ", wanted floating-point numbers (f64, f32, bf16 or f16)");
  }
}
template void Safetensors::read_elements(const std::string&, std::int64_t, std::int64_t,
                                         std::span<float>) const;
template void Safetensors::read_elements(const std::string&, std::int64_t, std::int64_t,
                                         std::span<double>) const;

std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json& m = header["__metadata__"];
    for (const auto& [k, v] : metadata) m[k] = v;
  }
  std::int64_t offset = 0;
  for (const TensorHeader& t : tensors) {
    require(!header.contains(t.name), ErrorCode::internal, "tensor ", t.name, " listed twice");
    Json shape = Json::array();
    for (int i = 0; i < t.shape.rank; ++i) shape.push_back(t.shape[i]);
    const std::int64_t end = offset + t.shape.numel() * size_of(t.dtype);
    Json& e = header[t.name];
    e["dtype"] = dtype_text(t.dtype);
    e["shape"] = std::move(shape);
    e["data_offsets"] = Json::Array{offset, end};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + text;
}

std::string safetensors_bytes(const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<TensorHeader> headers;
  std::int64_t bytes = 0;
  for (const auto& [name, t] : tensors) {
    headers.push_back({name, t.dtype(), t.shape()});
    bytes += t.bytes();
  }
  std::string out = safetensors_header(headers, metadata);
  out.reserve(out.size() + static_cast<std::size_t>(bytes));
  for (const auto& [name, t] : tensors)
    out.append(static_cast<const char*>(t.raw()), static_cast<std::size_t>(t.bytes()));
  return out;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file_atomically(path, safetensors_bytes(tensors, metadata));
}

}  // namespace subquad
