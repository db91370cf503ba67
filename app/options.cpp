#include "app/options.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "subquad/base/error.h"
#include "subquad/io/json.h"

namespace subquad::app {
namespace {

// "a,b[-1,1],c" -> three: commas inside brackets belong to a name.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

struct Options::State {
  CLI::App app;
  std::vector<std::string> names;
  std::vector<std::function<void()>> checks;  // of values, after parsing
  State(const std::string& summary, const std::string& name) : app(summary, name) {}

  template <class T>
  CLI::Option* number(const std::string& name, T& to, const std::string& help, Range<T> range) {
    checks.emplace_back([this, name, &to, range] {
      require(to >= range.low && to <= range.high, ErrorCode::invalid_argument, name, ": got ", to,
              ", wanted ", range.low, " to ", range.high, " (see ", app.get_name(), " --help)");
    });
    return app.add_option(name, to, help)->capture_default_str();
  }
};

Options::Options(const std::string& command, const std::string& summary, const std::string& example)
    : state_(std::make_unique<State>(summary, "subquad " + command)) {
  state_->app.footer("Example:\n  " + example);
  state_->names.emplace_back("--help");
}

Options::~Options() = default;

Options& Options::positional(const std::string& name, std::string& to, const std::string& help,
                             bool required) {
  state_->app.add_option(name, to, help)->required(required);
  return *this;
}
Options& Options::positionals(const std::string& name, std::vector<std::string>& to,
                              const std::string& help) {
  state_->app.add_option(name, to, help);
  return *this;
}
Options& Options::flag(const std::string& name, bool& to, const std::string& help) {
  state_->app.add_flag(name, to, help);
  state_->names.push_back(name);
  return *this;
}
Options& Options::option(const std::string& name, std::string& to, const std::string& help) {
  state_->app.add_option(name, to, help)->capture_default_str();
  state_->names.push_back(name);
  return *this;
}
Options& Options::option(const std::string& name, std::int64_t& to, const std::string& help,
                         Range<std::int64_t> range) {
  state_->number(name, to, help, range);
  state_->names.push_back(name);
  return *this;
}
Options& Options::option(const std::string& name, double& to, const std::string& help,
                         Range<double> range) {
  state_->number(name, to, help, range);
  state_->names.push_back(name);
  return *this;
}
Options& Options::internal(const std::string& name, std::int64_t& to) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  state_->number<std::int64_t>(name, to, "", {0, kMost})->group("");
  return *this;
}
Options& Options::list(const std::string& name, std::vector<std::string>& to,
                       const std::string& help) {
  state_->app.add_option_function<std::string>(
      name, [&to](const std::string& text) { to = split_list(text); }, help + " (comma-separated)");
  state_->names.push_back(name);
  return *this;
}

Options& Options::repeated(const std::string& name, std::vector<std::string>& to,
                           const std::string& help) {
  state_->app.add_option(name, to, help)->expected(1)->take_all()->allow_extra_args(false);
  state_->names.push_back(name);
  return *this;
}

bool Options::parse(std::span<const std::string> arguments) {
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    state_->app.parse(reversed);
    for (const auto& check : state_->checks) check();
    return true;
  } catch (const CLI::CallForHelp&) {
    std::cout << state_->app.help();
    return false;
  } catch (const CLI::ParseError& e) {
    std::string hint;
    for (const std::string& a : arguments) {
      if (!a.starts_with("--")) continue;
      const std::string name = a.substr(0, a.find('='));
      if (std::find(state_->names.begin(), state_->names.end(), name) != state_->names.end())
        continue;
      const std::string near = nearest_key(name, state_->names);
      if (!near.empty()) hint = "; did you mean " + near + "?";
      break;
    }
    fail(ErrorCode::invalid_argument, state_->app.get_name(), ": ", e.what(), hint, " (see ",
         state_->app.get_name(), " --help)");
  }
}

}  // namespace subquad::app
