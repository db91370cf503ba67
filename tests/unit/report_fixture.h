// What a report reads of every finished run and every sized arm, for tests to fill in.
#pragma once

#include <string>

#include "subquad/io/json.h"

namespace subquad {

inline Json finished_run(const std::string& task, const std::string& arm, int seed) {
  Json run = Json::object();
  run["id"] = task + "-" + arm + "-s" + std::to_string(seed);
  run["task"] = task;
  run["arm"] = arm;
  run["seed"] = seed;
  run["tokens"] = 1000;
  run["parameters"] = 10;
  run["training_macs_per_token"] = 20.0;
  run["config_sha256"] = "c0ffee";
  run["weights_sha256"] = "beef";
  return run;
}

inline Json sized_arm() {
  return Json::parse(R"({"parameters":10,"training_macs_per_token":20.0,
      "model":{"d_model":8,"mlp_hidden":4,"layers":["one","two"]},
      "state_bytes":{"64":8,"1024":8,"16384":8,"65536":8}})",
                     "arm");
}

}  // namespace subquad
