#include "subquad/data/tokenizer/normalizer.h"

#include "subquad/data/tokenizer/unicode.h"

namespace subquad {

void replace_all(std::string_view text, std::string_view from, std::string_view to,
                 std::string& out) {
  std::size_t at = 0;
  for (std::size_t hit; (hit = text.find(from, at)) != std::string_view::npos;) {
    out.append(text.substr(at, hit - at)).append(to);
    at = hit + from.size();
  }
  out.append(text.substr(at));
}

std::string_view normalize(const std::vector<NormalizerStep>& steps, std::string_view text,
                           std::string (&buffers)[2]) {
  std::size_t next = 0;
  for (const NormalizerStep& step : steps) {
    std::string& buffer = buffers[next];
    if (step.kind == NormalizerStep::Kind::nfc) {
      const std::string_view out = nfc(text, buffer);
      if (out.data() == text.data()) continue;
      text = out;
    } else {
      buffer.clear();
      if (step.kind == NormalizerStep::Kind::replace) {
        replace_all(text, step.pattern, step.content, buffer);
      } else if (!text.empty()) {
        buffer.append(step.content).append(text);
      }
      text = buffer;
    }
    next = 1 - next;
  }
  return text;
}

}  // namespace subquad
