#include "subquad/pretrained/weight_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "subquad/pretrained/config.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

// Links lead out of a folder only into the blobs of the hub's cache:
// models--ORG--NAME/snapshots/REVISION/FILE -> models--ORG--NAME/blobs/DIGEST.
void check_inside(const fs::path& folder, const fs::path& file) {
  std::error_code error;
  const fs::path target = fs::canonical(file, error);
  require(!error, ErrorCode::io, file.string(), ": cannot be read: ", error.message());
  const fs::path home = fs::canonical(folder), model = home.parent_path().parent_path();
  const bool cached =
      home.parent_path().filename() == "snapshots" && target.parent_path() == model / "blobs";
  require(target.parent_path() == home || cached, ErrorCode::format, file.string(),
          ": a link out of the folder, to ", target.string());
}

void check_plain_name(const std::string& index, const std::string& name) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  require(plain, ErrorCode::format, index, ": file name \"", name,
          "\", wanted the name of a file in the same folder");
}

}  // namespace

WeightFiles::WeightFiles(const std::string& folder) : folder_(folder) {
  const auto there = [&](const std::string& name) {
    std::error_code error;
    return fs::exists(fs::path(folder_) / name, error);
  };
  if (there("model.safetensors")) {
    add_all(open("model.safetensors"));
  } else if (there("model.safetensors.index.json")) {
    read_index((fs::path(folder_) / "model.safetensors.index.json").string());
  } else {
    for (int i = 0; there("model_" + std::to_string(i) + ".safetensors"); ++i)
      add_all(open("model_" + std::to_string(i) + ".safetensors"));
  }
  require(
      !files_.empty(), ErrorCode::io, folder_,
      there("pytorch_model.bin")
          ? ": holds its weights as pytorch_model.bin only, a pickle, which can run code and is "
            "not read; convert it with safetensors.torch.save_file"
          : ": holds no weights; wanted model.safetensors, model.safetensors.index.json with "
            "its files, or model_0.safetensors");
}

std::size_t WeightFiles::open(const std::string& name) {
  const fs::path path = fs::path(folder_) / name;
  check_inside(folder_, path);
  files_.push_back({path.string(), Safetensors(path.string())});
  return files_.size() - 1;
}

void WeightFiles::add_all(std::size_t file) {
  for (const auto& [name, entry] : files_[file].content.entries()) {
    const auto [at, fresh] = owner_.emplace(name, file);
    require(fresh, ErrorCode::format, files_[file].path, ": tensor ", name, " is also in ",
            files_[at->second].path);
  }
}

void WeightFiles::read_index(const std::string& path) {
  const Json index = read_published_json(path);
  std::map<std::string, std::size_t> opened;
  try {
    for (const auto& [tensor, file] : index.at("weight_map").as_object()) {
      const std::string& name = file.as_string();
      check_plain_name(path, name);
      if (!opened.contains(name)) opened.emplace(name, open(name));
      const std::size_t at = opened.at(name);
      require(files_[at].content.contains(tensor), ErrorCode::format, path, ": tensor ", tensor,
              " is not in ", files_[at].path);
      owner_.emplace(tensor, at);
    }
  } catch (Error& e) {
    if (std::string_view(e.what()).find(folder_) == std::string_view::npos) e.add_context(path);
    throw;
  }
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    for (const auto& [tensor, entry] : files_[i].content.entries()) {
      const auto at = owner_.find(tensor);
      require(at != owner_.end() && at->second == i, ErrorCode::format, files_[i].path, ": tensor ",
              tensor, at == owner_.end() ? " is not in the index " : " is elsewhere in the index ",
              path);
      bytes += entry.end - entry.begin;
    }
  }
  if (const Json* metadata = index.find("metadata")) {
    const Json* total = metadata->find("total_size");
    if (total && total->is_number() && total->as_double() != static_cast<double>(bytes)) {
      warnings_.push_back(path + ": total_size " + total->dump() + ", the tensors have " +
                          std::to_string(bytes) + " bytes");
    }
  }
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> out;
  for (const auto& [name, file] : owner_) out.push_back(name);
  return out;
}

std::size_t WeightFiles::owner(const std::string& name) const {
  const auto at = owner_.find(name);
  require(at != owner_.end(), ErrorCode::format, folder_, ": tensor ", name, " is missing");
  return at->second;
}

const Safetensors::Entry& WeightFiles::entry(const std::string& name) const {
  return files_[owner(name)].content.entries().at(name);
}

const std::string& WeightFiles::file_of(const std::string& name) const {
  return files_[owner(name)].path;
}

void WeightFiles::require_finite() const {
  constexpr std::int64_t kPiece = 1 << 16;
  std::vector<float> piece(kPiece);
  for (const auto& [name, owner] : owner_) {
    const Safetensors::Entry& e = entry(name);
    if (e.dtype != DType::f64 && e.dtype != DType::f32 && e.dtype != DType::bf16 &&
        e.dtype != DType::f16)
      continue;
    const std::int64_t n = e.shape.numel();
    for (std::int64_t first = 0; first < n; first += kPiece) {
      const std::span<float> values(piece.data(),
                                    static_cast<std::size_t>(std::min(kPiece, n - first)));
      read_elements(name, first, 1, values);
      const auto bad =
          std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
      if (bad == values.end()) continue;
      fail(ErrorCode::numeric, files_[owner].path, ": tensor ", name, " of shape ", e.shape,
           ": element ", first + (bad - values.begin()), " is ", *bad,
           ", wanted a finite number; the file is damaged, or its training diverged");
    }
  }
}

}  // namespace subquad
