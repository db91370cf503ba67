// Encoding and decoding: against a literal merge, on any bytes, in linear time.
#include "subquad/data/tokenizer/tokenizer.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <functional>

#include "subquad/base/rng.h"
#include "subquad/data/tokenizer/trainer.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

std::string golden(const std::string& name) {
  return std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/" + name;
}

const char* const kGolden[] = {
    "gpt2", "gpt_neox", "llama3", "qwen3", "qwen3_5", "llama2_bytefallback", "added_token_flags"};

// Merges by the definition: the lowest rank, then the leftmost, until none is left.
std::vector<std::int32_t> literal_merge(const std::vector<PairMerger::Merge>& merges,
                                        std::vector<std::int32_t> ids) {
  for (;;) {
    std::size_t best = merges.size(), at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t r = 0; r < best; ++r) {
        if (merges[r].left == ids[i] && merges[r].right == ids[i + 1]) {
          best = r;
          at = i;
        }
      }
    }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(TokenizerMerge, EqualsTheLiteralRule) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Rng rng{seed, stream_id("merge")};
    std::vector<PairMerger::Merge> merges;
    std::int32_t tokens = 3;
    for (std::uint64_t k = 0; k < 12; ++k) {
      const auto pick = [&](std::uint64_t side) {
        return static_cast<std::int32_t>(rng.below(tokens, k, side));
      };
      const PairMerger::Merge m{pick(0), pick(1), tokens};
      const bool twice = std::any_of(merges.begin(), merges.end(), [&](const auto& o) {
        return o.left == m.left && o.right == m.right;
      });
      if (twice) continue;
      merges.push_back(m);
      ++tokens;
    }
    const PairMerger merger(merges, tokens);
    PairMerger::Scratch scratch;
    for (std::uint64_t n = 0; n < 60; ++n) {
      std::vector<std::int32_t> ids;
      for (std::uint64_t i = 0; i < n; ++i)
        ids.push_back(static_cast<std::int32_t>(rng.below(3, 100 + n, i)));
      const auto want = literal_merge(merges, ids);
      scratch.candidates = 0;
      merger.merge(ids, scratch);
      ASSERT_EQ(ids, want) << "seed " << seed << ", length " << n;
      EXPECT_LE(scratch.candidates, 3 * static_cast<std::int64_t>(n));
    }
  }
}

std::string random_bytes(std::uint64_t stream, std::size_t n) {
  const Rng rng{5, stream};
  // Lead and continuation bytes often, so that valid, cut and wrong sequences all occur.
  static constexpr std::string_view kParts[] = {
      " ", "a", "\n", "7", "\xC3\xA9", "\xE2\x82", "\xF0\x9F\x99\x82", "\xCC\x81", "\xED\xA0"};
  std::string s;
  for (std::uint64_t i = 0; s.size() < n; ++i) {
    if (rng.below(2, 0, i) == 0) {
      s += static_cast<char>(rng.below(256, 1, i));
    } else {
      s += kParts[rng.below(std::size(kParts), 2, i)];
    }
  }
  return s;
}

TEST(Tokenizer, AnyBytesRoundTrip) {
  for (const char* name : kGolden) {
    const Tokenizer tokenizer = Tokenizer::load(golden(name));
    const bool nfc_first = std::string(name).find("neox") != std::string::npos ||
                           std::string(name).starts_with("qwen");
    if (std::string(name) == "added_token_flags") continue;  // tokens there swallow white space
    Encoder encoder(tokenizer);
    for (std::uint64_t k = 0; k < 300; ++k) {
      const std::string text = random_bytes(k, k);
      std::vector<std::int32_t> ids;
      encoder.encode(text, false, ids);
      std::string buffer;
      EXPECT_EQ(tokenizer.decode_bytes(ids), nfc_first ? nfc(text, buffer) : text) << name;
      EXPECT_TRUE(is_valid_utf8(tokenizer.decode(ids)));
    }
  }
}

TEST(Tokenizer, SpacesAfterWordsCutNothing) {
  // Without a word pattern texts are cut where no merge can reach: the whole text, given to the
  // merger at once, must give the same.
  const TokenizerDefinition d = read_tokenizer(golden("llama2_bytefallback"));
  const Tokenizer tokenizer{TokenizerDefinition(d)};
  std::vector<PairMerger::Merge> merges;
  for (const auto& [a, b] : d.merges)
    merges.push_back({*tokenizer.find(a), *tokenizer.find(b), *tokenizer.find(a + b)});
  const std::string text = "the  quick   brown fox,\n    and  the rest  ";
  std::vector<std::int32_t> ids;
  std::string normal = "\xE2\x96\x81";
  for (const char c : text) normal += c == ' ' ? "\xE2\x96\x81" : std::string(1, c);
  for (std::size_t at = 0; at < normal.size();) {
    const std::string c = normal.substr(at, code_point_at(normal, at).bytes);
    ids.push_back(c == "\n" ? *tokenizer.find("<0x0A>") : *tokenizer.find(c));
    at += c.size();
  }
  EXPECT_EQ(tokenizer.encode(text), literal_merge(merges, ids));
}

TEST(Tokenizer, TheCacheChangesNothing) {
  const Tokenizer tokenizer = Tokenizer::load(golden("llama3"));
  Encoder tiny(tokenizer, 1), usual(tokenizer);
  for (std::uint64_t k = 0; k < 200; ++k) {
    const std::string text = random_bytes(k, 200);
    std::vector<std::int32_t> a, b;
    tiny.encode(text, true, a);
    usual.encode(text, true, b);
    usual.encode(text, true, b);  // appended, from the cache
    ASSERT_EQ(b.size(), 2 * a.size());
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin() + static_cast<std::ptrdiff_t>(a.size())));
  }
}

TEST(Tokenizer, DecodeRefusesIdsWithoutAToken) {
  const Tokenizer tokenizer = Tokenizer::load(golden("gpt2"));
  for (const std::int32_t id : {-1, 901, 1 << 30}) {
    try {
      (void)tokenizer.decode(std::vector<std::int32_t>{1, id});
      ADD_FAILURE() << id;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(std::to_string(id)), std::string::npos) << e.what();
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    }
  }
  EXPECT_EQ(tokenizer.vocabulary(), 901);
  EXPECT_TRUE(tokenizer.is_special(900));
  EXPECT_EQ(tokenizer.find("<|endoftext|>"), 900);
}

std::string repeated(std::string_view part, std::size_t bytes) {
  std::string s;
  while (s.size() < bytes) s += part;
  return s;
}

// Runs in a thread with a stack of 256 KiB: nothing may recurse on the text.
void on_small_stack(const std::function<void()>& body) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, std::size_t{256} << 10), 0);
  pthread_t thread;
  const auto start = [](void* f) -> void* {
    (*static_cast<const std::function<void()>*>(f))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start,
                           const_cast<void*>(static_cast<const void*>(&body))),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

double best_seconds(Encoder& encoder, const std::string& text) {
  double best = 1e30;
  for (int k = 0; k < 3; ++k) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::int32_t> ids;
    encoder.encode(text, false, ids);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

const std::string_view kHostile[] = {
    " ",
    "\n",
    "a",
    "7",
    "'",
    "\xF0\x9F\x99\x82",                              // an emoji
    "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7",  // joined emoji
    "\xCC\x81",                                      // one combining mark
    "\xCC\x81\xCC\xA3",                              // marks that change places
    "e\xCC\x81",
    "\xFF",
    "\xE2\x82",
    "\n  ",
    " \xC2\xA0",
    "ab",
    "<|im_start|",  // nearly a token
    "<|endoftext|>",
    " <l>",
    "\xE2\x96\x81",
};

TEST(Tokenizer, CandidatesAreLinearOnHostileText) {
  on_small_stack([] {
    for (const char* name : kGolden) {
      const Tokenizer tokenizer = Tokenizer::load(golden(name));
      for (const std::string_view part : kHostile) {
        Encoder encoder(tokenizer);
        const std::string text = repeated(part, std::size_t{1} << 17);
        std::vector<std::int32_t> ids;
        encoder.encode(text, false, ids);
        EXPECT_LE(encoder.candidates(), 3 * static_cast<std::int64_t>(text.size()) + 3)
            << name << " on " << part;
        EXPECT_LE(ids.size(), text.size() + 1);
      }
    }
  });
}

// Scanners and NFC have no counter. Eight times the text takes eight times as long; a quadratic step
// would take 64 times, which the bound of 32 tells apart on any machine.
TEST(Tokenizer, FullTimeIsLinearOnHostileText) {
  constexpr std::size_t kLong = std::size_t{1} << 19;
  for (const char* name : kGolden) {
    const Tokenizer tokenizer = Tokenizer::load(golden(name));
    Encoder encoder(tokenizer);
    for (const std::string_view part : kHostile) {
      const double small = best_seconds(encoder, repeated(part, kLong / 8)),
                   large = best_seconds(encoder, repeated(part, kLong));
      EXPECT_LT(large, 32 * small + 0.01) << name << " on " << part;
    }
  }
}

}  // namespace
}  // namespace subquad
