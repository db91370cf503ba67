// Arm keys and layer patterns.
#include <algorithm>

#include "subquad/model/model.h"

namespace subquad {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  int depth = 0;  // commas inside brackets belong to a kind: mamba2[-1,1]
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '[') ++depth;
    if (i < text.size() && text[i] == ']') --depth;
    if (i == text.size() || (text[i] == separator && depth == 0)) {
      parts.push_back(text.substr(from, i - from));
      from = i + 1;
    }
  }
  return parts;
}

bool is_mixer(const std::string& kind) {
  return std::any_of(all_mixers().begin(), all_mixers().end(),
                     [&](const MixerEntry& e) { return e.kind == kind; });
}

// "[7:1]" at the end of `arm` -> {7, 1}; nothing if there is none.
std::vector<std::int64_t> ratio(const std::string& arm, std::string& rest) {
  const auto open = arm.rfind('[');
  const auto colon = arm.find(':', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || colon == std::string::npos || arm.back() != ']') return {};
  const std::string a = arm.substr(open + 1, colon - open - 1),
                    b = arm.substr(colon + 1, arm.size() - colon - 2);
  const auto digits = [](const std::string& s) {
    return !s.empty() && s.size() < 5 && s.find_first_not_of("0123456789") == std::string::npos;
  };
  if (!digits(a) || !digits(b)) return {};
  rest = arm.substr(0, open);
  return {std::stoll(a), std::stoll(b)};
}

}  // namespace

std::vector<std::string> arm_layers(const std::string& arm, std::int64_t blocks) {
  require(blocks >= 1 && blocks <= 4096, ErrorCode::invalid_argument, blocks,
          " blocks, wanted 1 to 4096");
  require(arm != "ngram", ErrorCode::invalid_argument,
          "ngram is counted from bytes, not trained: it has no layers, sizes or state");
  if (is_mixer(arm)) return std::vector<std::string>(static_cast<std::size_t>(blocks), arm);
  const auto listed = split(arm, ',');
  if (listed.size() > 1) {
    require(static_cast<std::int64_t>(listed.size()) == blocks, ErrorCode::invalid_argument,
            "arm \"", arm, "\" lists ", listed.size(), " layers for ", blocks, " blocks");
    for (const std::string& kind : listed) {
      require(is_mixer(kind), ErrorCode::invalid_argument, "arm \"", arm, "\": unknown mixer \"",
              kind, "\"");
    }
    return listed;
  }
  std::string rest;
  const auto counts = ratio(arm, rest);
  std::vector<std::string> kinds;
  if (rest == "xlstm") {
    kinds = {"mlstm", "slstm"};
  } else {
    kinds = split(rest, ':');
  }
  if (counts.size() == 2 && kinds.size() == 2 && is_mixer(kinds[0]) && is_mixer(kinds[1]) &&
      counts[0] + counts[1] > 0) {
    const std::int64_t period = counts[0] + counts[1];
    // A cut pattern would be another arm under this one's name, or another ratio.
    require(counts[0] == 0 || counts[1] == 0 || blocks % period == 0, ErrorCode::invalid_argument,
            arm, " has a pattern of ", period, " blocks but the model has ", blocks,
            "; set blocks to a multiple of ", period);
    std::vector<std::string> layers;
    for (std::int64_t i = 0; i < blocks; ++i) {
      layers.push_back(kinds[i % period < counts[0] ? 0 : 1]);
    }
    return layers;
  }
  std::vector<std::string> known = {"xlstm[1:1]", "xlstm[7:1]", "xlstm[1:0]", "ngram"};
  for (const MixerEntry& e : all_mixers()) known.push_back(e.kind);
  const std::string near = nearest_key(arm, known);
  fail(ErrorCode::invalid_argument, "unknown arm \"", arm, "\"; ",
       near.empty() ? "wanted a mixer, xlstm[a:b], KIND:KIND[a:b] or a list KIND,KIND,..."
                    : "did you mean \"" + near + "\"?");
}

}  // namespace subquad
