// Errors that teach: one exception type with a code, the caller's line and a context chain.
// Message form: what was got, what was wanted, hint.
#pragma once

#include <cstdint>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

namespace subquad {

enum class ErrorCode : std::uint8_t {
  invalid_argument,  // a value the caller chose (flag, plan key, option); the program exits with 2
  shape_mismatch,
  unsupported,
  io,
  format,  // a file's content is wrong
  numeric,
  out_of_memory,
  out_of_space,  // the program exits with 75: free space and run the same command again
  interrupted,   // Ctrl-C; the program exits with 130
  internal,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string text,
        std::source_location at = std::source_location::current());

  ErrorCode code() const noexcept { return code_; }
  const std::source_location& where() const noexcept { return where_; }
  const char* what() const noexcept override { return text_.c_str(); }

  // Called by whoever catches and rethrows: "while reading run 7: <text>".
  void add_context(const std::string& frame);

 private:
  ErrorCode code_;
  std::source_location where_;
  std::string text_;
};

// Exit status of the program for an error: 2 usage, 75 resumable, 130 interrupted, otherwise 1.
int exit_code(ErrorCode code) noexcept;

// Captures the caller's line, so that require() needs no macro.
struct Condition {
  bool ok;
  std::source_location at;
  Condition(bool value, std::source_location where = std::source_location::current())  // NOLINT
      : ok(value), at(where) {}
};

template <class... Parts>
[[noreturn, gnu::noinline, gnu::cold]] void throw_error(ErrorCode code, std::source_location at,
                                                        const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(code, text.str(), at);
}

// Throws Error unless the condition holds. The text is built only then: pass its parts, do not
// join them.
template <class... Parts>
[[gnu::always_inline]] inline void require(Condition condition, ErrorCode code,
                                           const Parts&... parts) {
  if (!condition.ok) [[unlikely]]
    throw_error(code, condition.at, parts...);
}

template <class... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(code, text.str());
}

}  // namespace subquad
