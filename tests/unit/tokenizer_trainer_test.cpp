#include "subquad/data/tokenizer/trainer.h"

#include <gtest/gtest.h>

#include <map>

#include "subquad/base/rng.h"
#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/tokenizer.h"

namespace subquad {
namespace {

std::vector<std::string> some_documents() {
  const Rng rng{1, stream_id("documents")};
  static const char* const kParts[] = {"self",    ".",    "value", " = ",
                                       "(",       "x",    ")\n",   "    ",
                                       "return ", "aaaa", "12",    "\xC3\xA9t\xC3\xA9"};
  std::vector<std::string> documents(40);
  std::uint64_t n = 0;
  for (std::string& d : documents) {
    for (int i = 0; i < 400; ++i) d += kParts[rng.below(std::size(kParts), 0, ++n)];
  }
  return documents;
}

std::vector<std::string_view> views(const std::vector<std::string>& documents) {
  return {documents.begin(), documents.end()};
}

std::string trained(const std::vector<std::string>& documents, const TrainerOptions& o,
                    int threads = 1) {
  ThreadPool pool(threads);
  return tokenizer_json(train_tokenizer(views(documents), o, pool)).dump();
}

TEST(TokenizerTrainer, TheSameOnAnyNumberOfThreadsAndDocumentsInAnyOrder) {
  auto documents = some_documents();
  // More than one group of a megabyte.
  for (int k = 0; k < 8; ++k)
    documents.push_back(std::string(300000, 'a' + static_cast<char>(k)) + " ");
  const TrainerOptions o{.vocabulary = 320};
  const std::string one = trained(documents, o, 1);
  EXPECT_EQ(trained(documents, o, 2), one);
  EXPECT_EQ(trained(documents, o, 5), one);
  std::reverse(documents.begin(), documents.end());
  EXPECT_EQ(trained(documents, o, 3), one);
}

// By the definition: count all pairs again before every merge.
std::vector<std::pair<std::string, std::string>> literal_merges(
    const std::vector<std::string>& documents, const TrainerOptions& o) {
  std::map<std::string, std::int64_t> words;
  for (const std::string& d : documents) {
    for (std::size_t at = 0; at < d.size();) {
      const std::size_t end = word_end(o.pattern, d, at);
      ++words[d.substr(at, end - at)];
      at = end;
    }
  }
  ThreadPool pool(1);
  TrainerOptions bytes_only = o;
  bytes_only.vocabulary = 256 + static_cast<std::int64_t>(o.special_tokens.size());
  const auto start = train_tokenizer(views({}), bytes_only, pool).vocabulary;
  std::map<std::string, std::int32_t> ids(start.begin(), start.end());
  std::vector<std::string> tokens;
  for (const auto& [token, id] : start) tokens.push_back(token);
  std::vector<std::pair<std::vector<std::int32_t>, std::int64_t>> split;
  for (const auto& [word, count] : words) {
    std::vector<std::int32_t> w;
    for (const char c : word)
      w.push_back(ids.at(std::string(letter_of(static_cast<std::uint8_t>(c)))));
    split.emplace_back(w, count);
  }
  std::vector<std::pair<std::string, std::string>> merges;
  while (static_cast<std::int64_t>(tokens.size()) < o.vocabulary) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> counts;
    for (const auto& [w, count] : split) {
      for (std::size_t i = 1; i < w.size(); ++i) counts[{w[i - 1], w[i]}] += count;
    }
    std::pair<std::int32_t, std::int32_t> best{-1, -1};
    std::int64_t most = o.min_count - 1;
    for (const auto& [pair, count] : counts) {
      const std::string joined = tokens[static_cast<std::size_t>(pair.first)] +
                                 tokens[static_cast<std::size_t>(pair.second)];
      if (count > most && !ids.contains(joined)) {
        most = count;
        best = pair;
      }
    }
    if (best.first < 0) break;
    const std::string left = tokens[static_cast<std::size_t>(best.first)],
                      right = tokens[static_cast<std::size_t>(best.second)];
    const auto id = static_cast<std::int32_t>(tokens.size());
    merges.emplace_back(left, right);
    tokens.push_back(left + right);
    ids[left + right] = id;
    for (auto& [w, count] : split) {
      for (std::size_t i = 0; i + 1 < w.size(); ++i) {
        if (w[i] != best.first || w[i + 1] != best.second) continue;
        w[i] = id;
        w.erase(w.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return merges;
}

TEST(TokenizerTrainer, EqualsTheLiteralRule) {
  for (const WordPattern pattern : word_patterns()) {
    for (const std::int64_t vocabulary : {270, 400}) {
      const auto documents = some_documents();
      const TrainerOptions o{.vocabulary = vocabulary, .pattern = pattern};
      ThreadPool pool(2);
      EXPECT_EQ(train_tokenizer(views(documents), o, pool).merges, literal_merges(documents, o));
    }
  }
}

TEST(TokenizerTrainer, OrderOfIdsAndTies) {
  ThreadPool pool(1);
  const std::vector<std::string> documents = {"dc dc ba ba"};
  const auto d = train_tokenizer(views(documents),
                                 {.vocabulary = 260, .special_tokens = {"<s>", "</s>"}}, pool);
  EXPECT_EQ(d.vocabulary[0].first, "<s>");
  EXPECT_EQ(d.vocabulary[1].first, "</s>");
  EXPECT_EQ(d.vocabulary[2].first, "!");
  ASSERT_EQ(d.vocabulary.size(), 260u);
  // Both pairs twice: the smaller left id first.
  EXPECT_EQ(d.merges[0], (std::pair<std::string, std::string>{"b", "a"}));
  EXPECT_EQ(d.merges[1], (std::pair<std::string, std::string>{"d", "c"}));
  for (std::size_t i = 0; i < d.vocabulary.size(); ++i)
    EXPECT_EQ(d.vocabulary[i].second, static_cast<std::int32_t>(i));
}

TEST(TokenizerTrainer, WhatIsTrainedEncodes) {
  const auto documents = some_documents();
  ThreadPool pool(2);
  const Tokenizer t(train_tokenizer(views(documents), {.vocabulary = 400}, pool));
  std::int64_t bytes = 0, tokens = 0;
  for (const std::string& d : documents) {
    const auto ids = t.encode(d);
    EXPECT_EQ(t.decode_bytes(ids), d);
    bytes += static_cast<std::int64_t>(d.size());
    tokens += static_cast<std::int64_t>(ids.size());
  }
  EXPECT_GT(bytes, 2 * tokens);
  EXPECT_EQ(t.encode("<|endoftext|>"), std::vector<std::int32_t>{0});
}

TEST(TokenizerTrainer, StopsWhenNoPairIsFrequent) {
  ThreadPool pool(1);
  const std::vector<std::string> documents = {"abcdef"};
  EXPECT_EQ(train_tokenizer(views(documents), {.vocabulary = 1000}, pool).vocabulary.size(), 257u);
  EXPECT_EQ(
      train_tokenizer(views(documents), {.vocabulary = 1000, .min_count = 1}, pool).merges.size(),
      5u);
}

TEST(TokenizerTrainer, RefusesWhatCannotBe) {
  ThreadPool pool(1);
  const auto refused = [&](const TrainerOptions& o, const char* part) {
    try {
      train_tokenizer({}, o, pool);
      ADD_FAILURE() << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  refused({.vocabulary = 256}, "wanted 257");
  refused({.vocabulary = std::int64_t{1} << 40}, "1099511627776");
  refused({.special_tokens = {"<s>", "<s>"}}, "given twice");
  refused({.special_tokens = {""}}, "empty");
  refused({.special_tokens = {"a"}}, "letter of a byte");
}

}  // namespace
}  // namespace subquad
