// Tokenizers: the file, and texts. Questions.
#include <array>

#include "subquad/data/tokenizer/text_reader.h"
#include "subquad/data/tokenizer/unicode.h"
#include "subquad/runtime/choices.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {

namespace {

// A file read in small pieces has the ids of the whole.
void read_in_pieces(const Tokenizer& tokenizer, std::string_view text) {
  constexpr std::int64_t kPiece = 8;
  TextReader reader(&tokenizer, scratch_file("text", text), kPiece);
  std::vector<std::int32_t> ids;
  std::int64_t bytes = 0;
  while (const std::int64_t n = reader.next(ids)) bytes += n;
  promise(bytes == static_cast<std::int64_t>(text.size()), "all of a file is read");
  promise(ids == tokenizer.encode(text), "a file in pieces has the ids of the whole");
}

}  // namespace

// Sections: tokenizer.json, text. Every id of an encoding has a token.
bool tokenizer_file(std::string_view input) {
  const std::string_view file = take_section(input);
  return accepted([&] {
    const Tokenizer t(parse_tokenizer(Json::parse(file, "tokenizer.json"), "tokenizer.json"));
    const auto ids = t.encode(input, true);
    (void)t.decode(ids);
    (void)t.decode_bytes(ids, true);
    read_in_pieces(t, input);
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

bool choices(std::string_view input) {
  const std::string path = scratch_file("questions.jsonl", input);
  return accepted([&] {
    for (const Question& q : read_questions(path))
      promise(q.choices.size() >= 2 && q.answer < q.choices.size(), "the answer is a choice");
  });
}

}  // namespace subquad::fuzz
