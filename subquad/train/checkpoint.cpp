#include "subquad/train/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kKeep = 2, kMostManifest = 1 << 20;
// What a manifest vouches for: these and no path of anybody's choice.
constexpr const char* kFiles[] = {"model.safetensors", "optim.safetensors", "train_state.json"};

std::string step_name(std::int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%010lld", static_cast<long long>(step));
  return name;
}

// Complete checkpoints by name, newest first.
std::vector<std::string> list(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name.size() == 15 && name.starts_with("step-")) found.push_back(name);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

// Content of every file of a checkpoint, compared with its manifest.
std::string verify(const std::string& path) {
  const std::string text = read_regular_file(path + "/MANIFEST.json", kMostManifest);
  const Json manifest = Json::parse(text, path + "/MANIFEST.json");
  Json body = Json::object();
  for (const auto& [key, value] : manifest.as_object()) {
    if (key != "sha256") body[key] = value;
  }
  require(manifest.at("sha256").as_string() == sha256(body.dump()), ErrorCode::format, path,
          "/MANIFEST.json does not match its own digest");
  const Json& files = manifest.at("files");
  require(files.size() == std::size(kFiles), ErrorCode::format, path, "/MANIFEST.json lists ",
          files.size(), " files, wanted ", std::size(kFiles));
  for (const char* name : kFiles) {
    const Json& entry = files.at(name);
    const MappedFile file(path + "/" + name);
    const auto size = static_cast<std::int64_t>(file.bytes().size());
    require(size == entry.at("bytes").as_int(), ErrorCode::format, path, "/", name, ": ", size,
            " bytes, the manifest says ", entry.at("bytes").as_int());
    require(sha256(file.bytes()) == entry.at("sha256").as_string(), ErrorCode::format, path, "/",
            name, ": content does not match the manifest's SHA-256");
  }
  return manifest.at("sha256").as_string();
}

void require_space(const std::string& folder, std::size_t bytes) {
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) return;
  const auto free_bytes = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  require(free_bytes > bytes + bytes / 5, ErrorCode::out_of_space, "a checkpoint of ", bytes,
          " bytes does not fit in ", folder, " (", free_bytes,
          " bytes free). Nothing was lost: free some space and run the same command again");
}

TrainState read_train_state(const std::string& path, AdamW& optimizer) {
  const Json train = Json::read(path);
  const auto count = [&](const char* key) {
    const std::int64_t n = train.at(key).as_int();
    require(n >= 0, ErrorCode::format, path, ": ", key, " is ", n, ", wanted 0 or more");
    return n;
  };
  TrainState state{count("step"), count("tokens"), train.at("log"),
                   train.at("loss_sum").as_double(), count("loss_count")};
  for (const Json& point : state.log.as_array()) {
    require(point.is_array() && (point.size() == 2 || point.size() == 3) && point[0].is_int(),
            ErrorCode::format, path, ": log: got ", point.dump(),
            ", wanted [tokens, loss] or [tokens, loss, validation]");
  }
  optimizer.set_steps(count("optimizer_steps"));
  return state;
}

}  // namespace

NamedTensors named_parameters(const ParameterStore& store) {
  NamedTensors named;
  std::int32_t index = 0;
  for (const ParamInfo& p : store.plan().all())
    named.emplace_back(p.name, store.value(ParamId{index++}));
  return named;
}

void load_parameters(const std::string& path, ParameterStore& store) {
  const Safetensors file(path);
  for (const auto& [name, to] : named_parameters(store)) {
    require(file.contains(name), ErrorCode::format, path, ": tensor ", name, " is missing");
    const Tensor from = file.read_as(name, store.dtype());
    require(from.shape() == to.shape(), ErrorCode::format, path, ": tensor ", name, " has shape ",
            from.shape(), ", the model wants ", to.shape());
    with_scalar(to.dtype(), [&]<class T>() {
      for (T x : from.host<T>()) {
        require(std::isfinite(x), ErrorCode::numeric, path, ": tensor ", name, " holds ", x);
      }
    });
    std::memcpy(to.raw(), from.raw(), static_cast<std::size_t>(to.bytes()));
  }
}

std::string weights_digest(const ParameterStore& store) {
  Sha256 hash;
  const auto add = [&](const Tensor& t) {
    hash.update(
        std::span(static_cast<const std::byte*>(t.raw()), static_cast<std::size_t>(t.bytes())));
  };
  std::int32_t index = 0;
  for (const ParamInfo& p : store.plan().all()) {
    const ParamId id{index++};
    hash.update(p.name);
    const PackedWeight* packed = store.packed(id);
    if (!packed) add(store.value(id));
    for (std::size_t i = 0; packed && i < packed->runs().size(); ++i) {
      const PackedWeight::Run& run = packed->runs()[i];
      hash.update(name_of(run.packing));
      add(run.codes);
      if (run.scales) add(run.scales);
    }
  }
  return hash.finish();
}

Checkpoints::Checkpoints(std::string folder) : folder_(std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  require(!error, ErrorCode::io, "cannot create folder ", folder_, ": ", error.message());
}

void Checkpoints::save(const ParameterStore& store, const AdamW& optimizer,
                       const TrainState& state) {
  Json train = Json::object();
  train["step"] = state.step;
  train["tokens"] = state.tokens;
  train["optimizer_steps"] = optimizer.steps();
  train["loss_sum"] = state.loss_sum;
  train["loss_count"] = state.loss_count;
  train["log"] = state.log;
  const std::pair<const char*, std::string> files[] = {
      {"model.safetensors", safetensors_bytes(named_parameters(store))},
      {"optim.safetensors", safetensors_bytes({{"first_moment", optimizer.first_moment()},
                                               {"second_moment", optimizer.second_moment()}})},
      {"train_state.json", train.dump()}};
  Json manifest = Json::object();
  manifest["format"] = 1;
  manifest["step"] = state.step;
  manifest["tokens"] = state.tokens;
  manifest["previous"] = previous_digest_;
  std::size_t total = 0;
  for (const auto& [name, content] : files) {
    manifest["files"][name]["bytes"] = static_cast<std::int64_t>(content.size());
    manifest["files"][name]["sha256"] = sha256(content);
    total += content.size();
  }
  const std::string digest = sha256(manifest.dump());
  manifest["sha256"] = digest;
  require_space(folder_, total);

  const std::string final_path = folder_ + "/" + step_name(state.step);
  const std::string temporary = final_path + ".tmp-" + std::to_string(::getpid());
  fs::remove_all(temporary);
  try {
    fs::create_directory(temporary);
    for (const auto& [name, content] : files)
      write_file_atomically(temporary + "/" + name, content);
    write_file_atomically(temporary + "/MANIFEST.json", manifest.dump());
    sync_folder(temporary);
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_NOREPLACE) !=
        0) {
      require(errno == EEXIST, ErrorCode::io, "cannot rename ", temporary, ": ",
              std::strerror(errno));
      fs::remove_all(temporary);  // the same step was saved before: keep that one
    }
    sync_folder(folder_);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  previous_digest_ = digest;
  const auto all = list(folder_);
  if (all.size() <= kKeep) return;
  verify(folder_ + "/" + all[0]);  // an older one goes only after the newer one was read back
  for (std::size_t i = kKeep; i < all.size(); ++i) {
    const std::string trash = folder_ + "/.trash-" + all[i];
    fs::rename(folder_ + "/" + all[i], trash);
    fs::remove_all(trash);
  }
}

std::optional<TrainState> Checkpoints::load(ParameterStore& store, AdamW& optimizer) {
  std::string problems;
  for (const std::string& name : list(folder_)) {
    const std::string path = folder_ + "/" + name;
    try {
      previous_digest_ = verify(path);
      load_parameters(path + "/model.safetensors", store);
      const Safetensors moments(path + "/optim.safetensors");
      for (const auto& [tensor, to] : {std::pair{"first_moment", optimizer.first_moment()},
                                       {"second_moment", optimizer.second_moment()}}) {
        const Tensor from = moments.read_as(tensor, to.dtype());
        require(from.numel() == to.numel(), ErrorCode::format, path,
                ": optimiser state of another model");
        std::memcpy(to.raw(), from.raw(), static_cast<std::size_t>(to.bytes()));
      }
      return read_train_state(path + "/train_state.json", optimizer);
    } catch (const Error& e) {
      problems += "\n  " + std::string(e.what());
      for (int i = 1;; ++i) {
        const std::string aside = path + ".corrupt-" + std::to_string(i);
        if (fs::exists(aside)) continue;
        fs::rename(path, aside);
        std::fprintf(stderr, "subquad: damaged checkpoint set aside as %s: %s\n", aside.c_str(),
                     e.what());
        break;
      }
    }
  }
  require(problems.empty(), ErrorCode::format, "no checkpoint in ", folder_,
          " is intact:", problems, "\nRemove the folder to start from the beginning");
  return std::nullopt;
}

}  // namespace subquad
