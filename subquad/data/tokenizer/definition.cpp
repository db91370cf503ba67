#include "subquad/data/tokenizer/definition.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "subquad/base/file.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

// The largest published tokenizers have half of each.
constexpr std::size_t kMostFileBytes = std::size_t{64} << 20, kMostValues = std::size_t{1} << 22;
constexpr std::size_t kMostContentBytes = 1024;  // of an added token
constexpr std::size_t kMostStepBytes = 64;       // of what a normalizer or decoder step inserts
constexpr std::size_t kMostSteps = 16;           // of a normalizer or decoder
constexpr double kMostGrowth = 64;               // of a text by all steps together

// Runs `body`; an error gets the entry it is about.
template <class Body>
auto in_entry(const std::string& entry, Body&& body) {
  try {
    return body();
  } catch (Error& e) {
    e.add_context(entry);
    throw;
  }
}

std::string numbered(const char* list, std::size_t i) {
  return std::string(list) + "[" + std::to_string(i) + "]";
}

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  fail(ErrorCode::unsupported, parts...);
}

// A value as it stands in errors.
std::string shown(const Json& value) {
  constexpr std::size_t kMost = 200;
  std::string text = value.dump();
  if (text.size() > kMost) text.replace(kMost, std::string::npos, "...");
  return text;
}

// The object has no key but these: another one might change the ids.
void only_keys(const Json& object, const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    refuse("the key ", shown(key), " is not known",
           near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
}

bool absent(const Json& object, const char* key) {
  const Json* value = object.find(key);
  return value == nullptr || value->is_null();
}

// What the key holds, which this version knows only as null.
void only_null(const Json& object, const char* key) {
  if (!absent(object, key)) refuse(key, " is not supported; wanted null");
}

const std::string& type_of(const Json& part) { return part.at("type").as_string(); }

std::string short_text(const Json& part, const char* key, bool may_be_empty) {
  const std::string& text = part.at(key).as_string();
  require(text.size() <= kMostStepBytes && (may_be_empty || !text.empty()), ErrorCode::format, key,
          ": got ", text.size(), " bytes, wanted ", may_be_empty ? 0 : 1, " to ", kMostStepBytes);
  return text;
}

// {"String": TEXT}
std::string string_pattern(const Json& part) {
  const Json& pattern = part.at("pattern");
  if (!pattern.contains("String")) {
    refuse("pattern: got ", shown(pattern), ", wanted {\"String\": ...}");
  }
  return short_text(pattern, "String", false);
}

std::int32_t token_id(const Json& value) {
  const std::int64_t id = value.as_int();
  require(id >= 0 && id <= std::numeric_limits<std::int32_t>::max(), ErrorCode::format,
          "got the id ", id, ", wanted 0 or more");
  return static_cast<std::int32_t>(id);
}

// Calls add(part) for the part, or for those of a sequence, in order.
template <class Add>
void each_part(const Json& part, const char* list, const Add& add) {
  if (part.is_null()) return;
  if (type_of(part) != "Sequence") return add(part);
  only_keys(part, {"type", list});
  const Json::Array& parts = part.at(list).as_array();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    in_entry(numbered(list, i), [&] {
      if (type_of(parts[i]) == "Sequence") refuse("a Sequence inside a Sequence");
      add(parts[i]);
    });
  }
}

// Replacements multiply: six that each make 64 bytes of one would make 64 GiB of one byte.
template <class Step>
void refuse_growth(const std::vector<Step>& steps) {
  require(steps.size() <= kMostSteps, ErrorCode::format, steps.size(), " steps, wanted at most ",
          kMostSteps);
  double growth = 1;
  for (const Step& s : steps) {
    if (s.kind != Step::Kind::replace) continue;
    growth *= std::max(
        1.0, static_cast<double>(s.content.size()) / static_cast<double>(s.pattern.size()));
  }
  require(growth <= kMostGrowth, ErrorCode::format, "the steps make a text up to ", growth,
          " times longer, wanted at most ", kMostGrowth);
}

void read_normalizer(const Json& json, TokenizerDefinition& d) {
  each_part(json, "normalizers", [&](const Json& part) {
    using Kind = NormalizerStep::Kind;
    const std::string& type = type_of(part);
    if (type == "NFC") {
      only_keys(part, {"type"});
      d.normalizer.push_back({Kind::nfc, "", ""});
    } else if (type == "Prepend") {
      only_keys(part, {"type", "prepend"});
      d.normalizer.push_back({Kind::prepend, "", short_text(part, "prepend", true)});
    } else if (type == "Replace") {
      only_keys(part, {"type", "pattern", "content"});
      d.normalizer.push_back(
          {Kind::replace, string_pattern(part), short_text(part, "content", true)});
    } else {
      refuse("type ", shown(type), "; known are NFC, Prepend and Replace");
    }
  });
  refuse_growth(d.normalizer);
}

WordPattern pattern_named(const std::string& regex) {
  std::string names;
  for (const WordPattern p : word_patterns()) {
    if (regex_of(p) == regex) return p;
    names += (names.empty() ? "" : ", ") + std::string(name_of(p));
  }
  refuse("the pattern ", shown(regex),
         " is not one of those with a scanner, which match to the letter: ", names,
         ". A new one takes a function in subquad/data/tokenizer/scanner.cpp");
}

void read_split(const Json& part, TokenizerDefinition& d) {
  only_keys(part, {"type", "pattern", "behavior", "invert"});
  if (d.pattern != WordPattern::whole) refuse("a second Split");
  const std::string& behavior = part.at("behavior").as_string();
  if (behavior != "Isolated") refuse("behavior ", shown(behavior), "; wanted \"Isolated\"");
  if (part.get("invert", false)) refuse("invert true; wanted false");
  const Json& pattern = part.at("pattern");
  if (!pattern.contains("Regex")) {
    refuse("pattern: got ", shown(pattern), ", wanted {\"Regex\": ...}");
  }
  d.pattern = pattern_named(pattern.at("Regex").as_string());
}

void read_pre_tokenizer(const Json& json, TokenizerDefinition& d) {
  d.byte_level = false;
  each_part(json, "pretokenizers", [&](const Json& part) {
    const std::string& type = type_of(part);
    if (d.byte_level) refuse("type ", shown(type), " behind ByteLevel");
    if (type == "Split") {
      read_split(part, d);
    } else if (type == "ByteLevel") {
      only_keys(part, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
      d.byte_level = true;
      d.add_prefix_space = part.get("add_prefix_space", true);
      const bool split = d.pattern != WordPattern::whole;
      if (split && d.add_prefix_space) refuse("add_prefix_space behind a Split; wanted false");
      if (part.get("use_regex", true)) {
        if (split) refuse("use_regex behind a Split; wanted false");
        d.pattern = WordPattern::gpt2;
      }
    } else {
      refuse("type ", shown(type), "; known are ByteLevel and Split");
    }
  });
  if (!d.byte_level && d.pattern != WordPattern::whole) refuse("a Split without ByteLevel");
}

// The ids of special tokens around "Sequence A".
void read_template(const Json& part, TokenizerDefinition& d) {
  only_keys(part, {"type", "single", "pair", "special_tokens"});
  bool seen = false;
  for (const Json& piece : part.at("single").as_array()) {
    if (const Json* special = piece.find("SpecialToken")) {
      const std::string& name = special->at("id").as_string();
      for (const Json& id : part.at("special_tokens").at(name).at("ids").as_array()) {
        (seen ? d.after : d.before).push_back(token_id(id));
      }
    } else if (piece.contains("Sequence") && !seen) {
      seen = true;
    } else {
      refuse("single: got ", shown(piece), ", wanted special tokens around one Sequence");
    }
  }
  if (!seen) refuse("single has no Sequence");
}

void read_post_processor(const Json& json, TokenizerDefinition& d) {
  bool found = false;
  each_part(json, "processors", [&](const Json& part) {
    const std::string& type = type_of(part);
    if (type == "ByteLevel") return;  // moves offsets, which nobody here asks for
    if (type != "TemplateProcessing") {
      refuse("type ", shown(type), "; known are ByteLevel and TemplateProcessing");
    }
    if (found) refuse("a second TemplateProcessing");
    found = true;
    read_template(part, d);
  });
}

void read_decoder(const Json& json, TokenizerDefinition& d) {
  if (json.is_null()) refuse("null; wanted ByteLevel, or a Sequence that puts bytes together");
  each_part(json, "decoders", [&](const Json& part) {
    using Kind = DecoderStep::Kind;
    const std::string& type = type_of(part);
    if (type == "ByteLevel") {
      d.decoder.push_back({Kind::byte_level, "", "", 0, 0});
    } else if (type == "ByteFallback") {
      d.decoder.push_back({Kind::byte_fallback, "", "", 0, 0});
    } else if (type == "Fuse") {
      d.decoder.push_back({Kind::fuse, "", "", 0, 0});
    } else if (type == "Replace") {
      only_keys(part, {"type", "pattern", "content"});
      d.decoder.push_back(
          {Kind::replace, string_pattern(part), short_text(part, "content", true), 0, 0});
    } else if (type == "Strip") {
      only_keys(part, {"type", "content", "start", "stop"});
      const std::string content = short_text(part, "content", false);
      d.decoder.push_back(
          {Kind::strip, "", content, part.at("start").as_int(), part.at("stop").as_int()});
    } else {
      refuse("type ", shown(type), "; known are ByteLevel, ByteFallback, Fuse, Replace and Strip");
    }
  });
  refuse_growth(d.decoder);
  const bool bytes = !d.decoder.empty() && d.decoder[0].kind == DecoderStep::Kind::byte_level;
  if (bytes != d.byte_level || (bytes && d.decoder.size() > 1)) {
    refuse("got ", shown(json), ", wanted ",
           d.byte_level ? "ByteLevel alone, as the pre_tokenizer is"
                        : "steps without ByteLevel, as the pre_tokenizer has none");
  }
}

AddedToken read_added_token(const Json& json) {
  only_keys(json, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken t;
  t.id = token_id(json.at("id"));
  t.content = json.at("content").as_string();
  require(!t.content.empty() && t.content.size() <= kMostContentBytes, ErrorCode::format,
          "content: got ", t.content.size(), " bytes, wanted 1 to ", kMostContentBytes);
  t.single_word = json.get("single_word", false);
  t.lstrip = json.get("lstrip", false);
  t.rstrip = json.get("rstrip", false);
  t.special = json.get("special", false);
  t.normalized = json.get("normalized", !t.special);
  return t;
}

// "a b", the older form, or ["a", "b"].
std::pair<std::string, std::string> read_merge(const Json& json) {
  if (json.is_string()) {
    const std::string& text = json.as_string();
    const std::size_t space = text.find(' ');
    require(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
            ErrorCode::format, "got ", shown(json), ", wanted two tokens with one space between");
    return {text.substr(0, space), text.substr(space + 1)};
  }
  require(json.is_array() && json.size() == 2, ErrorCode::format, "got ",
          json.is_array() ? std::to_string(json.size()) + " items" : std::string(json.type_name()),
          ", wanted two tokens");
  return {json[0].as_string(), json[1].as_string()};
}

void read_model(const Json& model, TokenizerDefinition& d) {
  only_keys(model,
            {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
             "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (const std::string type = model.get("type", "BPE"); type != "BPE") {
    refuse("type ", shown(type), "; wanted BPE");
  }
  if (!absent(model, "dropout") && model.at("dropout").as_double() != 0) {
    refuse("dropout ", shown(model.at("dropout")), "; wanted null");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!absent(model, affix) && !model.at(affix).as_string().empty()) {
      refuse(affix, " ", shown(model.at(affix)), "; wanted null");
    }
  }
  d.ignore_merges = !absent(model, "ignore_merges") && model.at("ignore_merges").as_bool();
  const bool fallback = !absent(model, "byte_fallback") && model.at("byte_fallback").as_bool();
  if (!d.byte_level && !fallback) {
    refuse("neither a ByteLevel pre_tokenizer nor byte_fallback: some texts would have no tokens");
  }
  for (const auto& [token, id] : model.at("vocab").as_object()) {
    in_entry("vocab[" + shown(token) + "]",
             [&] { d.vocabulary.emplace_back(token, token_id(id)); });
  }
  const Json::Array& merges = model.at("merges").as_array();
  d.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (i == 0 && merges[i].is_string() && merges[i].as_string().starts_with("#version")) continue;
    in_entry(numbered("merges", i), [&] { d.merges.push_back(read_merge(merges[i])); });
  }
}

void read_parts(const Json& json, TokenizerDefinition& d) {
  only_keys(json, {"version", "truncation", "padding", "added_tokens", "normalizer",
                   "pre_tokenizer", "post_processor", "decoder", "model"});
  if (const std::string v = json.get("version", "1.0"); v != "1.0") {
    refuse("version ", shown(v), "; wanted \"1.0\"");
  }
  only_null(json, "truncation");
  only_null(json, "padding");
  const Json none;
  const auto part = [&](const char* name, const auto& read) {
    const Json* found = json.find(name);
    in_entry(name, [&] { read(found ? *found : none, d); });
  };
  part("normalizer", read_normalizer);
  part("pre_tokenizer", read_pre_tokenizer);
  part("post_processor", read_post_processor);
  part("decoder", read_decoder);
  part("model", read_model);
  if (absent(json, "added_tokens")) return;
  const Json::Array& added = json.at("added_tokens").as_array();
  for (std::size_t i = 0; i < added.size(); ++i) {
    in_entry(numbered("added_tokens", i),
             [&] { d.added_tokens.push_back(read_added_token(added[i])); });
  }
}

}  // namespace

TokenizerDefinition parse_tokenizer(const Json& json, const std::string& source) {
  TokenizerDefinition d;
  d.source = source;
  in_entry(source, [&] { read_parts(json, d); });
  return d;
}

TokenizerDefinition read_tokenizer(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string file = fs::is_directory(path, error) ? path + "/tokenizer.json" : path;
  return parse_tokenizer(Json::parse(read_regular_file(file, kMostFileBytes), file,
                                     {.depth = 64, .values = kMostValues}),
                         file);
}

}  // namespace subquad
