#include "subquad/task/task.h"

#include <cmath>
#include <cstdio>

#include "app/commands.h"
#include "app/options.h"

namespace subquad::app {

int tasks(Arguments arguments) {
  std::string action = "list", name, data;
  std::int64_t count = 3;
  Options options("tasks", "List the tasks, or show samples of one with their targets.",
                  "subquad tasks show mqar");
  options.positional("action", action, "list or show")
      .positional("name", name, "the task to show")
      .option("--count", count, "how many samples", {1, 10000})
      .option("--data", data, "folder or file, for tasks that read one");
  if (!options.parse(arguments)) return 0;
  if (action == "list") {
    for (const TaskEntry& t : all_tasks())
      std::printf("%-10s %s\n", t.name.c_str(), t.summary.c_str());
    return 0;
  }
  require(action == "show" && !name.empty(), ErrorCode::invalid_argument, "subquad tasks ", action,
          ": wanted `list` or `show NAME`");
  const TaskEntry* entry = find_task(name);
  require(data.empty() || !entry || entry->reads_data, ErrorCode::invalid_argument, "--data ", data,
          ": the task ", name, " reads none; leave it out");
  const auto task = make_task(name, {.data = data, .extra = {}});
  const TaskSpec s = task->spec();
  std::printf("%s: %ld input ids, %ld classes, trained at length %ld, tested at", s.name.c_str(),
              static_cast<long>(s.vocabulary), static_cast<long>(s.classes),
              static_cast<long>(s.train_length));
  for (std::int64_t length : s.lengths) std::printf(" %ld", static_cast<long>(length));
  std::printf("\nprimary metric: %s at length %ld; ", s.primary.c_str(),
              static_cast<long>(s.primary_length));
  if (s.primary == "bits_per_byte") {
    std::printf("chance %.3g bits per byte\n", -std::log2(s.chance));
  } else {
    std::printf("chance %s%.3f\n",
                s.primary.find("accuracy") == std::string::npos ? "accuracy " : "", s.chance);
  }
  for (std::int64_t i = 0; i < count; ++i)
    std::printf("sample %ld\n%s", static_cast<long>(i), task->describe_sample(i).c_str());
  return 0;
}

}  // namespace subquad::app
