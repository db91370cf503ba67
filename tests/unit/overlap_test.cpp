// Documents that train and test share, counted on texts whose overlap is known.
#include "subquad/data/overlap.h"

#include <gtest/gtest.h>

#include <string>

namespace subquad {
namespace {

// `words` words of a text of its own; every `step`-th is replaced.
std::string text(int seed, int words, int replaced_every = 0) {
  std::string out;
  for (int i = 0; i < words; ++i) {
    const bool other = replaced_every > 0 && i % replaced_every == 0;
    out += (other ? "other" : "word") + std::to_string(seed * 1000 + i) + (i % 7 ? " " : ";\n");
  }
  return out;
}

std::string stream(const std::vector<std::string>& documents) {
  std::string out;
  for (const std::string& d : documents) out += d + '\0';
  return out;
}

Overlap overlap(const std::string& train, const std::string& test) {
  const auto bytes = [](const std::string& s) {
    return std::span(reinterpret_cast<const std::uint8_t*>(s.data()), s.size());
  };
  return overlap_of(bytes(train), bytes(test));
}

TEST(Overlap, CountsExactNearAndSharedPassages) {
  std::string passage = text(3, 40), holder = text(5, 300);
  const std::string quoting = text(6, 300) + passage;
  const Overlap o = overlap(
      stream({text(1, 200), text(2, 200), passage + holder, text(9, 50)}),
      // The same but for spaces; one word of 50 changed; one passage in common; nothing in common.
      stream({text(1, 200) + "\n  ", text(2, 200, 50), quoting, text(7, 200)}));
  EXPECT_EQ(o.documents, 4);
  EXPECT_EQ(o.exact, 1);
  EXPECT_EQ(o.near, 2) << "the same document is near too";
  EXPECT_EQ(o.ngram13, 3);
}

TEST(Overlap, OfUnrelatedTextsIsNothing) {
  std::vector<std::string> train, test;
  for (int i = 0; i < 40; ++i) (i % 2 ? train : test).push_back(text(100 + i, 120));
  const Overlap o = overlap(stream(train), stream(test));
  EXPECT_EQ(o.documents, 20);
  EXPECT_EQ(o.exact + o.near + o.ngram13, 0);
  EXPECT_EQ(overlap("", "").documents, 0);
  EXPECT_EQ(overlap(stream({"a b"}), stream({"a  b"})).exact, 1) << "shorter than any passage";
  EXPECT_EQ(overlap(stream({"a b"}), stream({"a  b"})).ngram13, 0);
}

TEST(Overlap, SimilarityDecidesAtSevenTenths) {
  // Sets of five words in a row: a replaced word takes five with it.
  const auto near = [](int every) {
    return overlap(stream({text(1, 1000)}), stream({text(1, 1000, every)})).near;
  };
  EXPECT_EQ(near(100), 1) << "similarity 0.9";
  EXPECT_EQ(near(8), 0) << "similarity 0.23";
}

}  // namespace
}  // namespace subquad
