// Commands of several actions: `subquad tokenizer train`, `subquad series show`.
#pragma once

#include <span>
#include <string>

#include "app/commands.h"

namespace subquad::app {

struct Action {
  const char* name;
  const char* summary;
  int (*run)(Arguments);
};

// Runs the action that the first argument names, or lists them under `summary`.
int run_action(const std::string& command, const std::string& summary,
               std::span<const Action> actions, Arguments arguments);

}  // namespace subquad::app
