#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/io/json_differences.h"

namespace subquad::app {
namespace {

// Prints every leaf that differs, by its path; returns their number.
std::size_t print_differences(const Json& a, const Json& b) {
  const auto all = json_differences(a, b);
  for (const JsonDifference& d : all)
    std::printf("  %-40s %s -> %s\n", d.path.c_str(), d.a.c_str(), d.b.c_str());
  return all.size();
}

Json metrics_by_name(const Json& result) {
  Json out = Json::object();
  for (const Json& m : result.at("metrics").as_array()) {
    out[m.at("split").as_string() + " " + m.at("name").as_string() + " @" +
        std::to_string(m.at("length").as_int())] = m.at("value");
  }
  out["parameters"] = result.at("parameters");
  out["train_loss"] = result.at("train_loss");
  out["weights_sha256"] = result.at("weights_sha256");
  return out;
}

}  // namespace

int diff(Arguments arguments) {
  std::string a, b;
  Options options("diff", "Configuration and result differences of two runs.",
                  "subquad diff runs/parity-mlstm-0 runs/parity-slstm-0");
  options.positional("run-a", a, "a run folder", true).positional("run-b", b, "another", true);
  if (!options.parse(arguments)) return 0;
  for (const std::string& folder : {a, b}) {
    require(std::filesystem::exists(folder + "/config.json"), ErrorCode::io, folder,
            " is not a run: it has no config.json");
  }
  std::printf("configuration\n");
  if (print_differences(Json::read(a + "/config.json"), Json::read(b + "/config.json")) == 0)
    std::printf("  none\n");
  if (!std::filesystem::exists(a + "/result.json") ||
      !std::filesystem::exists(b + "/result.json")) {
    std::printf("results\n  at least one of the runs is not finished\n");
    return 0;
  }
  std::printf("results\n");
  if (print_differences(metrics_by_name(Json::read(a + "/result.json")),
                        metrics_by_name(Json::read(b + "/result.json"))) == 0) {
    std::printf("  none: weights and metrics are identical\n");
  }
  return 0;
}

}  // namespace subquad::app
