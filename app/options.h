// Command-line options of one subcommand: a thin facade, so that the parser's header stays in one
// file.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace subquad::app {

template <class T>
struct Range {
  T low, high;  // both included
};
// Of options that several commands have.
inline constexpr Range<std::int64_t> kSeeds{0, std::numeric_limits<std::int64_t>::max()};
inline constexpr Range<std::int64_t> kThreads{1, 1024};
inline constexpr Range<std::int64_t> kTokens{0, std::int64_t{1} << 50};
inline constexpr Range<std::int64_t> kForks{1, 4096};
inline constexpr Range<std::int64_t> kWidths{1, 1 << 16};
inline constexpr Range<std::int64_t> kBlocks{1, 4096};
inline constexpr Range<std::int64_t> kHeads{1, 4096};

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
  // A number has a range: parse() refuses what lies outside.
  Options& option(const std::string& name, std::int64_t& to, const std::string& help,
                  Range<std::int64_t> range);
  Options& option(const std::string& name, double& to, const std::string& help,
                  Range<double> range);
  Options& internal(const std::string& name, std::int64_t& to);  // not in --help
  Options& list(const std::string& name, std::vector<std::string>& to,
                const std::string& help);  // comma-separated, which the help says
  Options& repeated(const std::string& name, std::vector<std::string>& to,
                    const std::string& help);  // one value each time it is given

  // False if --help was asked for and printed. A mistake throws Error(invalid_argument) that names
  // the nearest option, or the value and its range.
  bool parse(std::span<const std::string> arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace subquad::app
