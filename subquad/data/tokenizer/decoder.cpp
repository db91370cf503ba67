#include "subquad/data/tokenizer/decoder.h"

#include <charconv>

#include "subquad/data/tokenizer/normalizer.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

std::vector<std::string> join_bytes(std::vector<std::string>& tokens, bool exact) {
  std::vector<std::string> out;
  std::string run;
  const auto end_run = [&] {
    if (run.empty()) return;
    if (!exact && !is_valid_utf8(run)) {
      std::string unknown;
      for (std::size_t i = 0; i < run.size(); ++i) unknown += "\xEF\xBF\xBD";
      run = std::move(unknown);
    }
    out.push_back(std::move(run));
    run.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = byte_of_fallback_token(token); byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      end_run();
      out.push_back(std::move(token));
    }
  }
  end_run();
  return out;
}

void strip(std::string& text, const DecoderStep& step) {
  const std::string_view mark = step.content;
  std::string_view rest = text;
  for (std::int64_t k = 0; k < step.start && rest.starts_with(mark); ++k) {
    rest.remove_prefix(mark.size());
  }
  for (std::int64_t k = 0; k < step.stop && rest.ends_with(mark); ++k) {
    rest.remove_suffix(mark.size());
  }
  text = std::string(rest);
}

std::vector<std::string> fused(const std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& t : tokens) all += t;
  return {std::move(all)};
}

}  // namespace

int byte_of_fallback_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int byte = 0;
  const char* end = token.data() + 5;
  const auto [stop, error] = std::from_chars(token.data() + 3, end, byte, 16);
  return error == std::errc() && stop == end && byte >= 0 ? byte : -1;
}

std::string fallback_token(int byte) {
  constexpr const char* kHex = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
}

std::string decode_steps(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens,
                         bool exact) {
  using Kind = DecoderStep::Kind;
  for (const DecoderStep& step : steps) {
    if (step.kind == Kind::byte_fallback) {
      tokens = join_bytes(tokens, exact);
    } else if (step.kind == Kind::fuse) {
      tokens = fused(tokens);
    } else {
      for (std::string& token : tokens) {
        if (step.kind == Kind::strip) {
          strip(token, step);
        } else if (step.kind == Kind::replace) {
          std::string replaced;
          replace_all(token, step.pattern, step.content, replaced);
          token = std::move(replaced);
        }
      }
    }
  }
  return fused(tokens)[0];
}

}  // namespace subquad
