// Tokenizers: the file, and texts.
#include <array>

#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/data/tokenizer/unicode.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {

// Sections: tokenizer.json, text. Every id of an encoding has a token.
bool tokenizer_file(std::string_view input) {
  const std::string_view file = take_section(input);
  return accepted([&] {
    const Tokenizer t(parse_tokenizer(Json::parse(file, "tokenizer.json"), "tokenizer.json"));
    const auto ids = t.encode(input, true);
    (void)t.decode(ids);
    (void)t.decode_bytes(ids, true);
  });
}

// First byte: which tokenizer. Texts come back, but for what a normalizer or an added token took.
bool tokenizer_text(std::string_view input) {
  static const std::array<Tokenizer, 7> tokenizers = [] {
    const auto load = [](const char* name) {
      return Tokenizer::load(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/" + name);
    };
    return std::array<Tokenizer, 7>{load("gpt2"),
                                    load("llama3"),
                                    load("gpt_neox"),
                                    load("qwen3"),
                                    load("qwen3_5"),
                                    load("llama2_bytefallback"),
                                    load("added_token_flags")};
  }();
  if (input.empty()) return false;
  const std::size_t which = static_cast<unsigned char>(input[0]) % tokenizers.size();
  const Tokenizer& t = tokenizers[which];
  input.remove_prefix(1);
  const auto ids = t.encode(input);
  const std::string bytes = t.decode_bytes(ids), text = t.decode(ids);
  promise(replace_invalid_utf8(text) == text, "a decoded text is valid UTF-8");
  if (which < 2) promise(bytes == input, "encode, then decode, is the identity");
  return true;
}

}  // namespace subquad::fuzz
