#include "app/actions.h"

#include <cstdio>
#include <vector>

#include "subquad/base/error.h"
#include "subquad/io/json.h"

namespace subquad::app {

int run_action(const std::string& command, const std::string& summary,
               std::span<const Action> actions, Arguments arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    std::printf("%s\n\nusage: subquad %s ACTION [OPTIONS]\n\n", summary.c_str(), command.c_str());
    for (const Action& a : actions) std::printf("  %-8s %s\n", a.name, a.summary);
    std::printf("\nsubquad %s ACTION --help shows an example of each\n", command.c_str());
    return arguments.empty() ? 2 : 0;
  }
  std::vector<std::string> names;
  for (const Action& a : actions) {
    if (arguments[0] == a.name) return a.run(arguments.subspan(1));
    names.emplace_back(a.name);
  }
  const std::string near = nearest_key(arguments[0], names);
  fail(ErrorCode::invalid_argument, "subquad ", command, ": unknown action \"", arguments[0], "\"",
       near.empty() ? "; see subquad " + command + " --help" : "; did you mean \"" + near + "\"?");
}

}  // namespace subquad::app
