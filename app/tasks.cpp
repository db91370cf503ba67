#include "subquad/task/task.h"

#include <cmath>
#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "app/task_options.h"

namespace subquad::app {
namespace {

void print_spec(const TaskSpec& s) {
  const auto line = [](const char* what, const std::string& text) {
    if (!text.empty()) std::printf("  %-11s%s\n", what, text.c_str());
  };
  line("sees", s.guide.input);
  line("scored", s.guide.scored);
  line("source", s.guide.source);
  line("apart", s.guide.separation);
  std::printf(
      s.patches.length > 0
          ? "  %-11s%ld numbers a token, %ld outputs, trained at length %ld (%ld rows a step, %ld "
            "patches), tested at"
          : "  %-11s%ld input ids, %ld classes, trained at length %ld (%ld rows a step, %ld "
            "tokens), tested at",
      "sizes", static_cast<long>(s.vocabulary), static_cast<long>(s.classes),
      static_cast<long>(s.train_length), static_cast<long>(s.batch_size),
      static_cast<long>(s.default_tokens));
  for (std::int64_t length : s.lengths) std::printf(" %ld", static_cast<long>(length));
  std::printf("\n  %-11s%s at length %ld; ", "primary", s.primary.c_str(),
              static_cast<long>(s.primary_length));
  if (s.patches.length > 0) {
    std::printf("lower is better%s\n", s.chance > 0 ? ", Seasonal Naive 1" : "");
  } else if (s.primary == "bits_per_byte") {
    std::printf("chance %.3g bits per byte\n", -std::log2(s.chance));
  } else {
    std::printf("chance %s%.3f\n",
                s.primary.find("accuracy") == std::string::npos ? "accuracy " : "", s.chance);
  }
  for (const TaskOption& o : s.guide.options)
    std::printf("  option     %s = %s   (%s)\n", o.name.c_str(), o.value.c_str(), o.help.c_str());
}

}  // namespace

int tasks(Arguments arguments) {
  std::string action = "list", name, data;
  std::vector<std::string> task_options;
  std::int64_t count = 3;
  Options options("tasks",
                  "List the tasks, or explain one: what the model sees, what is scored, its "
                  "options, and samples with their targets.",
                  "subquad tasks show s3 --task-options supervision=final,train_length=128");
  options.positional("action", action, "list or show")
      .positional("name", name, "the task to show")
      .option("--count", count, "how many samples", {1, 10000})
      .list("--task-options", task_options, kTaskOptionsHelp)
      .option("--data", data, "folder or file, for tasks that read one");
  if (!options.parse(arguments)) return 0;
  if (action == "list") {
    for (const TaskEntry& t : all_tasks())
      std::printf("%-28s %s\n", t.name.c_str(), t.summary.c_str());
    return 0;
  }
  require(action == "show" && !name.empty(), ErrorCode::invalid_argument, "subquad tasks ", action,
          ": wanted `list` or `show NAME`");
  const TaskEntry* entry = find_task(name);
  require(data.empty() || !entry || entry->reads_data, ErrorCode::invalid_argument, "--data ", data,
          ": the task ", name, " reads none; leave it out");
  const auto task = make_task(name, {.data = data, .extra = parse_task_options(task_options)});
  std::printf("%s: %s\n", name.c_str(), entry->summary.c_str());
  print_spec(task->spec());
  for (std::int64_t i = 0; i < count; ++i)
    std::printf("sample %ld\n%s", static_cast<long>(i), task->describe_sample(i).c_str());
  return 0;
}

}  // namespace subquad::app
