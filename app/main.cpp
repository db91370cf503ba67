#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/error.h"
#include "subquad/base/interrupt.h"
#include "subquad/io/json.h"

namespace {

using subquad::app::Arguments;
using subquad::app::Options;

struct Command {
  const char* name;
  const char* summary;
  int (*run)(Arguments);
};

constexpr Command kCommands[] = {
    {"compare", "train and compare the arms of a study, write one report", subquad::app::compare},
    {"train", "train one model on one task, or a published one on", subquad::app::train},
    {"evaluate", "score a run on its task, or a model on texts and questions",
     subquad::app::evaluate},
    {"generate", "continue a prompt from a run or a published model", subquad::app::generate},
    {"convert", "write a trained run as a published model", subquad::app::convert},
    {"quantize", "write a model with its weights in fewer bits", subquad::app::quantize},
    {"report", "write a study's report again", subquad::app::report},
    {"protocol", "freeze what a study promises before its first run, or amend it",
     subquad::app::protocol},
    {"audit", "is a study fair? 44 checks, each with its numbers", subquad::app::audit},
    {"diff", "what differs between two runs", subquad::app::diff},
    {"verify", "check that all execution modes of every mixer agree", subquad::app::verify},
    {"info", "sizes, costs and state bytes of arms, before anything is trained",
     subquad::app::info},
    {"bench", "speed of the mixer cores against the machine's peak", subquad::app::bench},
    {"tokenizer", "train, inspect and measure tokenizers; text to ids and back",
     subquad::app::tokenizer},
    {"forecast", "forecast the series of a CSV file: shipped model, own ones, classical methods",
     subquad::app::forecast},
    {"backtest", "score forecasters beside each other on rolling windows of CSV files",
     subquad::app::backtest},
    {"anomalies", "find the values of a CSV file that were not to be expected",
     subquad::app::anomalies},
    {"series", "synthetic training series: look at them, make the cache", subquad::app::series},
    {"tasks", "list the tasks, or show samples of one", subquad::app::tasks},
};

constexpr const char* kVersion = SUBQUAD_VERSION;

void print_help() {
  std::printf(
      "subquad: train, fairly compare and deploy sub-quadratic sequence models\n\nusage: subquad "
      "COMMAND [OPTIONS]\n\n");
  for (const Command& c : kCommands) std::printf("  %-10s %s\n", c.name, c.summary);
  std::printf("  %-10s %s\n", "completion",
              "print a bash completion script: eval \"$(subquad completion)\"");
  std::printf("\n  --version [--json], --help; subquad COMMAND --help shows an example of each\n");
}

void print_completion() {
  std::printf("_subquad() {\n  local words='");
  for (const Command& c : kCommands) std::printf("%s ", c.name);
  std::printf(
      "completion'\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[1]}\"))\n"
      "  elif [[ ${COMP_WORDS[COMP_CWORD]} == --* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$(subquad \"${COMP_WORDS[1]}\" --help | grep -o -- "
      "'--[a-z-]*')\" -- "
      "\"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  fi\n}\ncomplete -F _subquad subquad\n");
}

int run(std::vector<std::string> words) {
  if (words.size() > 1 && words[0] == "help") words = {words[1], "--help"};
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_help();
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") {
    const bool json = words.size() > 1 && words[1] == "--json";
    if (json) {
      std::printf("{\"name\":\"subquad\",\"version\":\"%s\",\"compiler\":\"%s\"}\n", kVersion,
                  __VERSION__);
    } else {
      std::printf("subquad %s\n", kVersion);
    }
    return 0;
  }
  if (words[0] == "completion") {
    Options options("completion", "Print a completion script for bash.",
                    "eval \"$(subquad completion)\"");
    if (options.parse(Arguments(words).subspan(1))) print_completion();
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& c : kCommands) {
    if (words[0] == c.name) return c.run(Arguments(words).subspan(1));
    names.emplace_back(c.name);
  }
  names.insert(names.end(), {"completion", "help"});
  const std::string near = subquad::nearest_key(words[0], names);
  subquad::fail(subquad::ErrorCode::invalid_argument, "unknown command \"", words[0], "\"",
                near.empty() ? "; see subquad --help" : "; did you mean \"" + near + "\"?");
}

}  // namespace

int main(int argc, char** argv) {
  subquad::install_interrupt_handler();
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const subquad::Error& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "subquad: %s\n", e.what());
    return subquad::exit_code(e.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "subquad: out of memory; try a smaller model, batch or length\n");
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "subquad: %s\n", e.what());
    return 1;
  }
}
