#include "subquad/base/error.h"
#include "subquad/data/tokenizer/definition.h"

namespace subquad {
namespace {

Json byte_level(bool prefix_space, bool regex) {
  return Json::Object{{"type", "ByteLevel"},
                      {"add_prefix_space", prefix_space},
                      {"trim_offsets", true},
                      {"use_regex", regex}};
}

Json pre_tokenizer(const TokenizerDefinition& d) {
  if (d.pattern == WordPattern::gpt2) return byte_level(d.add_prefix_space, true);
  if (d.pattern == WordPattern::whole) return byte_level(d.add_prefix_space, false);
  Json::Object pattern{{"Regex", regex_of(d.pattern)}};
  Json::Object split{{"type", "Split"},
                     {"pattern", std::move(pattern)},
                     {"behavior", "Isolated"},
                     {"invert", false}};
  return Json::Object{{"type", "Sequence"},
                      {"pretokenizers", Json::Array{std::move(split), byte_level(false, false)}}};
}

Json added_tokens(const TokenizerDefinition& d) {
  Json all = Json::array();
  for (const AddedToken& t : d.added_tokens) {
    all.push_back(Json::Object{{"id", std::int64_t{t.id}},
                               {"content", t.content},
                               {"single_word", t.single_word},
                               {"lstrip", t.lstrip},
                               {"rstrip", t.rstrip},
                               {"normalized", t.normalized},
                               {"special", t.special}});
  }
  return all;
}

Json model(const TokenizerDefinition& d) {
  Json::Object vocabulary;
  for (const auto& [token, id] : d.vocabulary) vocabulary.emplace_back(token, std::int64_t{id});
  Json::Array merges;
  for (const auto& [left, right] : d.merges) merges.emplace_back(Json::Array{left, right});
  return Json::Object{{"type", "BPE"},
                      {"dropout", Json()},
                      {"unk_token", Json()},
                      {"continuing_subword_prefix", Json()},
                      {"end_of_word_suffix", Json()},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", d.ignore_merges},
                      {"vocab", std::move(vocabulary)},
                      {"merges", std::move(merges)}};
}

}  // namespace

Json tokenizer_json(const TokenizerDefinition& d) {
  require(d.byte_level && d.before.empty() && d.after.empty(), ErrorCode::unsupported,
          "only byte-level tokenizers without post-processing are written");
  Json normalizer;
  for (const NormalizerStep& step : d.normalizer) {
    require(step.kind == NormalizerStep::Kind::nfc, ErrorCode::unsupported,
            "of normalizers only NFC is written");
    normalizer = Json::Object{{"type", "NFC"}};
  }
  return Json::Object{{"version", "1.0"},
                      {"truncation", Json()},
                      {"padding", Json()},
                      {"added_tokens", added_tokens(d)},
                      {"normalizer", normalizer},
                      {"pre_tokenizer", pre_tokenizer(d)},
                      {"post_processor", byte_level(false, true)},
                      {"decoder", byte_level(false, true)},
                      {"model", model(d)}};
}

}  // namespace subquad
