// Command-line options of one subcommand: a thin facade, so that the parser's header stays in one
// file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace subquad::app {

class Options {
 public:
  // `example` is shown at the end of --help.
  Options(const std::string& command, const std::string& summary, const std::string& example);
  ~Options();

  Options& positional(const std::string& name, std::string& to, const std::string& help,
                      bool required = false);
  Options& positionals(const std::string& name, std::vector<std::string>& to,
                       const std::string& help);
  Options& flag(const std::string& name, bool& to, const std::string& help);
  Options& option(const std::string& name, std::string& to, const std::string& help);
  Options& option(const std::string& name, std::int64_t& to, const std::string& help);
  Options& option(const std::string& name, double& to, const std::string& help);
  Options& list(const std::string& name, std::vector<std::string>& to,
                const std::string& help);  // comma-separated

  // False if --help was asked for and printed. A mistake throws Error(invalid_argument) that names
  // the nearest option.
  bool parse(std::span<const std::string> arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace subquad::app
