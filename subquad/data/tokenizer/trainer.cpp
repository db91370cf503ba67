#include "subquad/data/tokenizer/trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "subquad/base/error.h"
#include "subquad/data/tokenizer/byte_alphabet.h"

namespace subquad {
namespace {

using WordCounts = std::vector<std::pair<std::string_view, std::int64_t>>;

void count_words(std::span<const std::string_view> documents, WordPattern pattern,
                 WordCounts& out) {
  std::unordered_map<std::string_view, std::int64_t> counts;
  for (const std::string_view text : documents) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = word_end(pattern, text, at);
      if (end - at > 1 && end - at <= kLongestTrainedWord) ++counts[text.substr(at, end - at)];
      at = end;
    }
  }
  out.assign(counts.begin(), counts.end());
}

// Different words and how often they occur, sorted. Documents are counted in groups of about a
// megabyte, which depend on their sizes only; sums of integers do not depend on an order.
WordCounts all_words(std::span<const std::string_view> documents, WordPattern pattern,
                     ThreadPool& pool) {
  constexpr std::size_t kGroupBytes = std::size_t{1} << 20;
  std::vector<std::span<const std::string_view>> groups;
  for (std::size_t from = 0, to = 0; from < documents.size(); from = to) {
    for (std::size_t bytes = 0; to < documents.size() && bytes < kGroupBytes; ++to) {
      bytes += documents[to].size();
    }
    groups.push_back(documents.subspan(from, to - from));
  }
  std::vector<WordCounts> counts(groups.size());
  pool.run(static_cast<std::int64_t>(groups.size()), [&](std::int64_t task, Scratch&) {
    const auto g = static_cast<std::size_t>(task);
    count_words(groups[g], pattern, counts[g]);
  });
  WordCounts all;
  for (WordCounts& part : counts) {
    all.insert(all.end(), part.begin(), part.end());
    WordCounts().swap(part);
  }
  std::sort(all.begin(), all.end());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (kept > 0 && all[kept - 1].first == all[i].first) {
      all[kept - 1].second += all[i].second;
    } else {
      all[kept++] = all[i];
    }
  }
  all.resize(kept);
  return all;
}

struct Pair {
  std::int32_t left = 0, right = 0;
  auto operator<=>(const Pair&) const = default;
};
struct PairHash {
  std::size_t operator()(const Pair& p) const {
    const std::uint64_t both =
        static_cast<std::uint64_t>(p.left) << 32 | static_cast<std::uint32_t>(p.right);
    const std::uint64_t h = both * 0x9E3779B97F4A7C15ULL;
    return h ^ h >> 29;
  }
};

class Merging {
 public:
  Merging(const WordCounts& words, const std::int32_t (&byte_ids)[256]) {
    for (const auto& [text, count] : words) {
      Word word{{}, count};
      for (const char c : text) word.ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
      words_.push_back(std::move(word));
    }
    for (std::size_t w = 0; w < words_.size(); ++w) {
      add_pairs(words_[w], 1);
      list_word(static_cast<std::uint32_t>(w), -1);
    }
    for (const auto& [pair, entry] : pairs_) queue_.push({entry.count, pair});
  }

  // The pair to merge next, and how often it occurs; count 0 if there is none.
  std::pair<Pair, std::int64_t> best() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      const auto entry = pairs_.find(top.pair);
      const std::int64_t now = entry == pairs_.end() ? 0 : entry->second.count;
      if (now == top.count) return {top.pair, now};
      queue_.pop();  // counted before other merges took some of it
      if (now > 0) queue_.push({now, top.pair});
    }
    return {};
  }

  void pass_over() { queue_.pop(); }  // the best pair, for good

  void merge(Pair pair, std::int32_t result) {
    changed_.clear();
    const std::vector<std::uint32_t> where = std::move(pairs_[pair].words);
    for (const std::uint32_t w : where) {
      Word& word = words_[w];
      if (!contains(word.ids, pair)) continue;  // merged away since it was listed
      add_pairs(word, -1);
      replace(word.ids, pair, result);
      add_pairs(word, 1);
      list_word(w, result);
    }
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Pair& p : changed_) queue_.push({pairs_[p].count, p});
    pairs_.erase(pair);
  }

 private:
  struct Word {
    std::vector<std::int32_t> ids;
    std::int64_t count = 0;
  };
  struct Entry {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // that have the pair, or had it
  };
  struct Candidate {
    std::int64_t count = 0;
    Pair pair;
    // Of a priority queue, whose top is the largest: more often, then smaller ids.
    bool operator<(const Candidate& o) const {
      return count != o.count ? count < o.count : o.pair < pair;
    }
  };

  void add_pairs(const Word& word, std::int64_t sign) {
    for (std::size_t i = 1; i < word.ids.size(); ++i) {
      pairs_[{word.ids[i - 1], word.ids[i]}].count += sign * word.count;
    }
  }

  // Lists the word under its pairs that have the token `with`, or under all (-1).
  void list_word(std::uint32_t w, std::int32_t with) {
    const auto& ids = words_[w].ids;
    for (std::size_t i = 1; i < ids.size(); ++i) {
      const Pair pair{ids[i - 1], ids[i]};
      if (with >= 0 && pair.left != with && pair.right != with) continue;
      Entry& entry = pairs_[pair];
      if (entry.words.empty() || entry.words.back() != w) entry.words.push_back(w);
      if (with >= 0) changed_.push_back(pair);
    }
  }

  static bool contains(const std::vector<std::int32_t>& ids, Pair pair) {
    for (std::size_t i = 1; i < ids.size(); ++i) {
      if (ids[i - 1] == pair.left && ids[i] == pair.right) return true;
    }
    return false;
  }

  // From left to right, as an encoder does.
  static void replace(std::vector<std::int32_t>& ids, Pair pair, std::int32_t result) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const bool here = ids[i] == pair.left && i + 1 < ids.size() && ids[i + 1] == pair.right;
      ids[kept++] = here ? result : ids[i];
      if (here) ++i;
    }
    ids.resize(kept);
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, Entry, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> changed_;  // by the merge in progress
};

// Special tokens and bytes; byte_ids gets the ids of the bytes.
void add_first_tokens(const TrainerOptions& o, TokenizerDefinition& d,
                      std::int32_t (&byte_ids)[256]) {
  const auto next = [&] { return static_cast<std::int32_t>(d.vocabulary.size()); };
  for (const std::string& s : o.special_tokens) {
    require(!s.empty() && std::none_of(d.vocabulary.begin(), d.vocabulary.end(),
                                       [&](const auto& v) { return v.first == s; }),
            ErrorCode::invalid_argument, "special token \"", s, "\": empty or given twice");
    AddedToken token;
    token.id = next();
    token.content = s;
    token.special = true;
    d.added_tokens.push_back(token);
    d.vocabulary.emplace_back(s, token.id);
  }
  std::vector<int> order(256);
  for (int b = 0; b < 256; ++b) order[static_cast<std::size_t>(b)] = b;
  // UTF-8 sorts as its code points do.
  std::sort(order.begin(), order.end(), [](int a, int b) {
    return letter_of(static_cast<std::uint8_t>(a)) < letter_of(static_cast<std::uint8_t>(b));
  });
  for (const int b : order) {
    const std::string letter(letter_of(static_cast<std::uint8_t>(b)));
    require(std::find(o.special_tokens.begin(), o.special_tokens.end(), letter) ==
                o.special_tokens.end(),
            ErrorCode::invalid_argument, "special token \"", letter,
            "\": it is the letter of a byte; wanted a longer one");
    byte_ids[b] = next();
    d.vocabulary.emplace_back(letter, next());
  }
}

}  // namespace

TokenizerDefinition train_tokenizer(std::span<const std::string_view> documents,
                                    const TrainerOptions& o, ThreadPool& pool) {
  const auto least = static_cast<std::int64_t>(o.special_tokens.size()) + 256;
  constexpr std::int64_t kMost = std::int64_t{1} << 20;
  require(o.vocabulary >= least && o.vocabulary <= kMost, ErrorCode::invalid_argument,
          "vocabulary: got ", o.vocabulary, ", wanted ", least,
          " (256 bytes and the special tokens) to ", kMost);
  TokenizerDefinition d;
  d.source = "a new tokenizer";
  d.pattern = o.pattern;
  d.decoder.emplace_back();  // ByteLevel
  std::int32_t byte_ids[256];
  add_first_tokens(o, d, byte_ids);
  std::unordered_set<std::string> known;
  for (const auto& [token, id] : d.vocabulary) known.insert(token);
  Merging merging(all_words(documents, o.pattern, pool), byte_ids);
  while (static_cast<std::int64_t>(d.vocabulary.size()) < o.vocabulary) {
    const auto [pair, count] = merging.best();
    if (count < std::max<std::int64_t>(o.min_count, 1)) break;
    const std::string left = d.vocabulary[static_cast<std::size_t>(pair.left)].first,
                      right = d.vocabulary[static_cast<std::size_t>(pair.right)].first;
    const auto id = static_cast<std::int32_t>(d.vocabulary.size());
    // Two pairs may join to the same text. Every token has one merge: a second one would bring the
    // token beside neighbours whose merges have had their turn.
    if (!known.insert(left + right).second) {
      merging.pass_over();
      continue;
    }
    d.vocabulary.emplace_back(left + right, id);
    d.merges.emplace_back(left, right);
    merging.merge(pair, id);
  }
  return d;
}

}  // namespace subquad
