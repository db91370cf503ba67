// Reads the options of a task (`extra` of a plan, `--task-options` of a command) and remembers what
// there was to read, so that `subquad tasks show` can list it.
#pragma once

#include <string>
#include <vector>

#include "subquad/task/task.h"

namespace subquad {

class TaskOptionReader {
 public:
  // Errors: invalid_argument if `extra` is neither null nor an object.
  TaskOptionReader(std::string task, const Json& extra);

  // Each reads one key, or gives the fallback where it is absent.
  // Errors: invalid_argument with the task, the key, what was got and what was wanted.
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t low,
                       std::int64_t high, const std::string& help);
  bool flag(const std::string& key, bool fallback, const std::string& help);
  std::string choice(const std::string& key, const std::string& fallback,
                     const std::vector<std::string>& values, const std::string& help);
  std::string text(const std::string& key, const std::string& fallback, const std::string& help);
  // A table of its own keys; null where it is absent.
  Json table(const std::string& key, const std::string& help);

  // After the last read. Errors: invalid_argument for a key nobody read; the nearest is named.
  std::vector<TaskOption> finish() const;

  [[noreturn]] void wrong(const std::string& key, const std::string& what) const;

 private:
  const Json* find(const std::string& key) const;

  std::string task_;
  Json extra_;
  std::vector<TaskOption> options_;
};

}  // namespace subquad
