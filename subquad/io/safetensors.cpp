#include "subquad/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "subquad/io/json.h"

namespace subquad {
namespace {

constexpr std::uint64_t kMaxHeader = 100 << 20;

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

DType dtype_from(const std::string& name, const std::string& where) {
  for (const auto& [text, dtype] : {std::pair{"F64", DType::f64},
                                    {"F32", DType::f32},
                                    {"BF16", DType::bf16},
                                    {"I32", DType::i32},
                                    {"U8", DType::u8}}) {
    if (name == text) return dtype;
  }
  fail(ErrorCode::unsupported, where, ": dtype ", name, ", wanted F64, F32, BF16, I32 or U8");
}

std::string dtype_text(DType t) {
  switch (t) {
    case DType::f64: return "F64";
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::i32: return "I32";
    case DType::u8: return "U8";
  }
  return "";
}

}  // namespace

Safetensors::Safetensors(const std::string& path) : path_(path), file_(path) {
  const auto bytes = file_.bytes();
  std::uint64_t header_size = 0;
  require(bytes.size() >= 8, ErrorCode::format, path, ": ", bytes.size(),
          " bytes, too short for a safetensors file");
  std::memcpy(&header_size, bytes.data(), 8);
  require(header_size <= kMaxHeader && header_size <= bytes.size() - 8, ErrorCode::format, path,
          ": header of ", header_size, " bytes in a file of ", bytes.size(),
          ": truncated or not safetensors");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  data_ = bytes.subspan(8 + header_size);
  const Json header = Json::parse(text, path);
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  for (const auto& [name, value] : header.as_object()) {
    if (name == "__metadata__") {
      for (const auto& [k, v] : value.as_object()) metadata_[k] = v.as_string();
      continue;
    }
    const std::string where = path + ": tensor " + name;
    try {
      Entry e;
      e.dtype = dtype_from(value.at("dtype").as_string(), where);
      const auto& dims = value.at("shape").as_array();
      require(dims.size() <= Shape::kMaxRank, ErrorCode::unsupported, where, " has rank ",
              dims.size(), ", wanted at most ", Shape::kMaxRank);
      for (const Json& d : dims) {
        require(d.as_int() >= 0, ErrorCode::format, where, " has dimension ", d.as_int());
        e.shape.dims[static_cast<std::size_t>(e.shape.rank++)] = d.as_int();
      }
      const Json& offsets = value.at("data_offsets");
      e.begin = offsets[0].as_int();
      e.end = offsets[1].as_int();
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
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    require(ranges[i].first >= ranges[i - 1].second, ErrorCode::format, path,
            ": tensors overlap at byte ", ranges[i].first);
  }
}

Tensor Safetensors::read(const std::string& name) const {
  const auto it = entries_.find(name);
  require(it != entries_.end(), ErrorCode::format, path_, ": no tensor named ", name);
  Tensor t(it->second.shape, it->second.dtype);
  std::memcpy(t.raw(), data_.data() + it->second.begin, static_cast<std::size_t>(t.bytes()));
  return t;
}

Tensor Safetensors::read_as(const std::string& name, DType dtype) const {
  const Tensor from = read(name);
  if (from.dtype() == dtype) return from;
  Tensor to(from.shape(), dtype);
  with_scalar(dtype, [&]<class T>() {
    T* y = to.data<T>();
    if (from.dtype() == DType::bf16) {
      const auto* x = static_cast<const std::uint16_t*>(from.raw());
      for (std::int64_t i = 0; i < to.numel(); ++i) {
        y[i] = static_cast<T>(std::bit_cast<float>(std::uint32_t{x[i]} << 16));
      }
      return;
    }
    with_scalar(from.dtype(), [&]<class U>() {
      const U* x = from.data<U>();
      for (std::int64_t i = 0; i < to.numel(); ++i) y[i] = static_cast<T>(x[i]);
    });
  });
  return to;
}

std::string safetensors_bytes(const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json& m = header["__metadata__"];
    for (const auto& [k, v] : metadata) m[k] = v;
  }
  std::int64_t offset = 0;
  for (const auto& [name, t] : tensors) {
    require(!header.contains(name), ErrorCode::internal, "tensor ", name, " listed twice");
    Json shape = Json::array();
    for (int i = 0; i < t.shape().rank; ++i) shape.push_back(t.shape()[i]);
    Json& e = header[name];
    e["dtype"] = dtype_text(t.dtype());
    e["shape"] = std::move(shape);
    e["data_offsets"] = Json::Array{offset, offset + t.bytes()};
    offset += t.bytes();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  std::string out(reinterpret_cast<const char*>(&size), 8);
  out.reserve(8 + text.size() + static_cast<std::size_t>(offset));
  out += text;
  for (const auto& [name, t] : tensors) {
    out.append(static_cast<const char*>(t.raw()), static_cast<std::size_t>(t.bytes()));
  }
  return out;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file_atomically(path, safetensors_bytes(tensors, metadata));
}

}  // namespace subquad
