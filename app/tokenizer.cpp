#include "subquad/data/tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "app/actions.h"
#include "app/options.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/data/corpus.h"
#include "subquad/data/tokenizer/trainer.h"

namespace subquad::app {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_input(const std::string& file) {
  return read_file(file.empty() || file == "-" ? "/dev/stdin" : file);
}

void write_output(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::vector<std::string_view> documents_of(std::span<const std::uint8_t> split) {
  const std::string_view all(reinterpret_cast<const char*>(split.data()), split.size());
  std::vector<std::string_view> documents;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find('\0', at), all.size());
    documents.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return documents;
}

std::int64_t bytes_of(const std::vector<std::string_view>& documents) {
  std::int64_t sum = 0;
  for (const auto& d : documents) sum += static_cast<std::int64_t>(d.size());
  return sum;
}

int train(Arguments arguments) {
  std::string folder, out = "tokenizer.json", pattern = "qwen2";
  TrainerOptions o;
  std::int64_t threads = 2, megabytes = 64;
  bool text = false;
  Options options(
      "tokenizer train",
      "Learns a byte-level BPE vocabulary from the training split of a folder, the same split that "
      "the tasks code and text train on, and writes a tokenizer.json. The same input gives the "
      "same bytes, on any number of threads.",
      "subquad tokenizer train ~/src --vocabulary 8192 --out tokenizer.json");
  options.positional("folder", folder, "source files; with --text any UTF-8 files", true)
      .option("--vocabulary", o.vocabulary, "tokens, with 256 bytes and the special tokens",
              {256, 1 << 20})
      .option("--out", out, "file to write")
      .option("--pattern", pattern, "how text is cut into words: gpt2, llama3, qwen2 or qwen3_5")
      .list("--special", o.special_tokens,
            "special tokens, ids from 0; <|endoftext|> alone if absent")
      .option("--min-count", o.min_count, "pairs that occur less often are not merged",
              {1, std::int64_t{1} << 40})
      .flag("--text", text, "any UTF-8 text, not only source code")
      .option("--megabytes", megabytes, "a sample of so many, where there are more", {1, 1 << 20})
      .option("--threads", threads, "number of threads", kThreads);
  if (!options.parse(arguments)) return 0;
  std::erase(o.special_tokens, "");
  o.pattern = word_pattern_named(pattern);
  const auto start = std::chrono::steady_clock::now();
  const ByteCorpus corpus({.source = folder,
                           .code = !text,
                           .most_bytes = megabytes << 20,
                           .cache = default_corpus_cache()});
  const auto documents = documents_of(corpus.split(0)), held_out = documents_of(corpus.split(1));
  ThreadPool pool(static_cast<int>(threads));
  TokenizerDefinition definition = train_tokenizer(documents, o, pool);
  const std::string file = tokenizer_json(definition).dump(1) + "\n";
  write_file_atomically(out, file);
  const Tokenizer tokenizer(std::move(definition));
  Encoder encoder(tokenizer);
  std::vector<std::int32_t> ids;
  for (const auto& d : held_out) encoder.encode(d, false, ids);
  std::printf("%s: %ld tokens from %zu documents, %.1f MB, in %.1f s\n", out.c_str(),
              static_cast<long>(tokenizer.count()), documents.size(),
              1e-6 * static_cast<double>(bytes_of(documents)), seconds_since(start));
  std::printf("%.3f bytes per token on the validation split; SHA-256 %s\n",
              static_cast<double>(bytes_of(held_out)) / static_cast<double>(ids.size()),
              sha256(file).c_str());
  if (tokenizer.count() < o.vocabulary) {
    std::printf(
        "fewer than the %ld asked for: no pair is left that occurs %ld times; give more text "
        "or a smaller --vocabulary\n",
        static_cast<long>(o.vocabulary), static_cast<long>(o.min_count));
  }
  return 0;
}

int encode(Arguments arguments) {
  std::string model, file, text;
  bool special = false, pieces = false;
  Options options("tokenizer encode", "Ids of a text, with spaces between.",
                  "echo 'def f(x):' | subquad tokenizer encode tokenizer.json --pieces");
  options.positional("tokenizer", model, "a tokenizer.json, or a folder that holds one", true)
      .positional("file", file, "the text; standard input if absent or -")
      .option("--string", text, "this text instead of a file")
      .flag("--add-special", special, "with the special tokens that the file puts around a text")
      .flag("--pieces", pieces, "one token per line: id, and the token as it stands in the file");
  if (!options.parse(arguments)) return 0;
  require(text.empty() || file.empty(), ErrorCode::invalid_argument,
          "subquad tokenizer encode: got --string and the file ", file, ", wanted one of them");
  require(file.empty() || file == "-" || std::filesystem::exists(file), ErrorCode::io,
          "cannot read ", file, ": no such file; a text itself goes behind --string");
  const Tokenizer tokenizer = Tokenizer::load(model);
  const auto ids = tokenizer.encode(text.empty() ? read_input(file) : text, special);
  std::string out;
  for (const std::int32_t id : ids) {
    if (pieces) {
      out += std::to_string(id) + " " + Json(tokenizer.token(id)).dump() + "\n";
    } else {
      out += (out.empty() ? "" : " ") + std::to_string(id);
    }
  }
  write_output(pieces ? out : out + "\n");
  return 0;
}

std::vector<std::int32_t> parse_ids(std::string_view text, std::vector<std::int32_t> ids) {
  const char *at = text.data(), *const end = at + text.size();
  while (at < end) {
    if (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r' || *at == ',') {
      ++at;
      continue;
    }
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(at, end, id);
    require(error == std::errc(), ErrorCode::invalid_argument, "got \"",
            std::string(at, std::min(end, at + 20)), "\", wanted ids, numbers with spaces between");
    ids.push_back(id);
    at = stop;
  }
  return ids;
}

int decode(Arguments arguments) {
  std::string model;
  std::vector<std::string> words;
  bool skip = false;
  Options options("tokenizer decode",
                  "The bytes of ids, which need not be valid UTF-8, without a newline behind them.",
                  "subquad tokenizer encode tokenizer.json a.py | subquad tokenizer decode "
                  "tokenizer.json | cmp - a.py");
  options.positional("tokenizer", model, "a tokenizer.json, or a folder that holds one", true)
      .positionals("ids", words, "ids; from standard input if absent")
      .flag("--skip-special", skip, "leave special tokens out");
  if (!options.parse(arguments)) return 0;
  const Tokenizer tokenizer = Tokenizer::load(model);
  std::vector<std::int32_t> ids;
  if (words.empty()) ids = parse_ids(read_input("-"), std::move(ids));
  for (const std::string& w : words) ids = parse_ids(w, std::move(ids));
  write_output(tokenizer.decode_bytes(ids, skip));
  return 0;
}

std::string flags_of(const AddedToken& t) {
  std::string flags;
  const auto add = [&](bool set, const char* name) {
    if (set) flags += (flags.empty() ? "" : ", ") + std::string(name);
  };
  add(t.special, "special");
  add(t.normalized, "normalized");
  add(t.single_word, "single_word");
  add(t.lstrip, "lstrip");
  add(t.rstrip, "rstrip");
  return flags;
}

int info(Arguments arguments) {
  std::string model;
  bool json = false;
  Options options("tokenizer info", "What a tokenizer.json holds.",
                  "subquad tokenizer info tokenizer.json");
  options.positional("tokenizer", model, "a tokenizer.json, or a folder that holds one", true)
      .flag("--json", json, "one JSON object");
  if (!options.parse(arguments)) return 0;
  const TokenizerDefinition d = read_tokenizer(model);
  const auto merges = static_cast<std::int64_t>(d.merges.size());
  const Tokenizer t{TokenizerDefinition(d)};
  std::size_t longest = 0;
  for (const auto& [token, id] : d.vocabulary) longest = std::max(longest, token.size());
  bool nfc = false;
  for (const NormalizerStep& s : d.normalizer) nfc = nfc || s.kind == NormalizerStep::Kind::nfc;
  Json out = Json::Object{{"file", d.source},
                          {"rows", t.vocabulary()},
                          {"tokens", t.count()},
                          {"merges", merges},
                          {"words", name_of(d.pattern)},
                          {"byte_level", d.byte_level},
                          {"ignore_merges", d.ignore_merges},
                          {"nfc", nfc},
                          {"special_before", static_cast<std::int64_t>(d.before.size())},
                          {"special_after", static_cast<std::int64_t>(d.after.size())},
                          {"longest_token_bytes", static_cast<std::int64_t>(longest)}};
  Json& added = out["added_tokens"] = Json::array();
  for (const AddedToken& a : d.added_tokens) {
    added.push_back(
        Json::Object{{"id", std::int64_t{a.id}}, {"content", a.content}, {"flags", flags_of(a)}});
  }
  if (json) {
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  for (const auto& [key, value] : out.as_object()) {
    if (!value.is_array()) std::printf("%-20s %s\n", key.c_str(), value.dump().c_str());
  }
  for (const AddedToken& a : d.added_tokens) {
    std::printf("added %8d       %-30s %s\n", a.id, Json(a.content).dump().c_str(),
                flags_of(a).c_str());
  }
  return 0;
}

struct Speed {
  double best_s = 1e30;
  std::int64_t runs = 0;
};

// Best time of one pass over the text, at least two passes and `seconds` in all.
template <class Pass>
Speed measure(double seconds, const Pass& pass) {
  Speed s;
  for (double total = 0; s.runs < 2 || total < seconds; ++s.runs) {
    const auto start = std::chrono::steady_clock::now();
    pass();
    const double one = seconds_since(start);
    total += one;
    s.best_s = std::min(s.best_s, one);
  }
  return s;
}

int bench(Arguments arguments) {
  std::string model, file;
  double seconds = 1;
  bool json = false;
  Options options("tokenizer bench",
                  "Speed of encoding and decoding a text on one core: the best of several passes. "
                  "fresh: an empty cache of words; warm: the cache of the pass before.",
                  "subquad tokenizer bench tokenizer.json sources.txt");
  options.positional("tokenizer", model, "a tokenizer.json, or a folder that holds one", true)
      .positional("file", file, "the text; standard input if absent or -")
      .option("--seconds", seconds, "measured time of each", {0, 3600})
      .flag("--json", json, "one JSON object");
  if (!options.parse(arguments)) return 0;
  const std::string text = read_input(file);
  require(!text.empty(), ErrorCode::invalid_argument, "subquad tokenizer bench: ", file,
          " is empty");
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = Tokenizer::load(model);
  const double load_s = seconds_since(start);
  std::vector<std::int32_t> ids;
  const auto once = [&](Encoder& encoder) {
    ids.clear();
    encoder.encode(text, false, ids);
  };
  std::int64_t candidates = 0;
  const Speed fresh = measure(seconds, [&] {
    Encoder encoder(tokenizer);
    once(encoder);
    candidates = encoder.candidates();
  });
  Encoder encoder(tokenizer);
  const Speed warm = measure(seconds, [&] { once(encoder); });
  const Speed back = measure(seconds, [&] { (void)tokenizer.decode_bytes(ids); });
  const double bytes = static_cast<double>(text.size());
  const auto rate = [&](const Speed& s) { return 1e-6 * bytes / s.best_s; };
  if (json) {
    const Json out = Json::Object{{"bytes", static_cast<std::int64_t>(text.size())},
                                  {"tokens", static_cast<std::int64_t>(ids.size())},
                                  {"load_seconds", load_s},
                                  {"encode_fresh_mb_per_second", rate(fresh)},
                                  {"encode_warm_mb_per_second", rate(warm)},
                                  {"decode_mb_per_second", rate(back)},
                                  {"candidates_per_byte", static_cast<double>(candidates) / bytes}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::printf("%zu bytes, %zu tokens, %.3f bytes per token; loaded in %.3f s\n", text.size(),
              ids.size(), bytes / static_cast<double>(ids.size()), load_s);
  std::printf(
      "encode, fresh %9.1f MB/s   %.2f candidate pairs per byte\nencode, warm  %9.1f MB/s\n"
      "decode        %9.1f MB/s\n",
      rate(fresh), static_cast<double>(candidates) / bytes, rate(warm), rate(back));
  return 0;
}

constexpr Action kActions[] = {
    {"train", "learn a vocabulary from a folder, write a tokenizer.json", train},
    {"encode", "ids of a text", encode},
    {"decode", "text of ids", decode},
    {"info", "what a tokenizer.json holds", info},
    {"bench", "speed on a text, one core", bench},
};

}  // namespace

int tokenizer(Arguments arguments) {
  return run_action("tokenizer",
                    "Byte-level BPE tokenizers in files tokenizer.json (docs/formats.md).",
                    kActions, arguments);
}

}  // namespace subquad::app
