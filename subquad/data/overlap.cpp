#include "subquad/data/overlap.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <unordered_map>
#include <vector>

namespace subquad {
namespace {

constexpr std::size_t kHashes = 128, kBands = 32, kRows = kHashes / kBands;
constexpr std::size_t kShingle = 5, kGram = 13;
constexpr double kNear = 0.7;

using Tokens = std::vector<std::uint64_t>;  // by hash
using Signature = std::array<std::uint64_t, kHashes>;

// The finaliser of SplitMix64: every bit of x reaches every bit of the result.
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Tokens tokens_of(std::span<const std::uint8_t> document) {
  Tokens out;
  std::uint64_t word = 0;
  for (const std::uint8_t c : document) {
    if (std::isalnum(c) != 0 || c == '_' || c >= 0x80) {
      word = mixed(word + c + 1);
      continue;
    }
    if (word != 0) out.push_back(word);
    word = 0;
    if (c > ' ') out.push_back(mixed(c));
  }
  if (word != 0) out.push_back(word);
  return out;
}

// Calls fn(hash) for every `n` tokens in a row; once for all of a shorter document.
template <class Fn>
void for_grams(const Tokens& tokens, std::size_t n, Fn&& fn) {
  if (tokens.empty()) return;
  n = std::min(n, tokens.size());
  for (std::size_t i = 0; i + n <= tokens.size(); ++i) {
    std::uint64_t hash = n;
    for (std::size_t j = 0; j < n; ++j) hash = mixed(hash + tokens[i + j]);
    fn(hash);
  }
}

Signature signature_of(const Tokens& tokens) {
  static const auto factors = [] {
    Signature f{};
    for (std::size_t i = 0; i < kHashes; ++i) f[i] = mixed(i + 1) | 1;
    return f;
  }();
  Signature s;
  s.fill(~std::uint64_t{0});
  for_grams(tokens, kShingle, [&](std::uint64_t hash) {
    for (std::size_t i = 0; i < kHashes; ++i) {
      const std::uint64_t h = (hash ^ factors[i]) * factors[i];
      s[i] = std::min(s[i], h ^ (h >> 32));
    }
  });
  return s;
}

std::uint64_t band_of(const Signature& s, std::size_t band) {
  std::uint64_t hash = band + 1;
  for (std::size_t r = 0; r < kRows; ++r) hash = mixed(hash + s[band * kRows + r]);
  return hash;
}

double similarity(const Signature& a, const Signature& b) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < kHashes; ++i) equal += a[i] == b[i] ? 1 : 0;
  return static_cast<double>(equal) / kHashes;
}

template <class Fn>
void for_documents(std::span<const std::uint8_t> stream, Fn&& fn) {
  for (std::size_t from = 0; from < stream.size();) {
    const auto end = static_cast<std::size_t>(
        std::find(stream.begin() + static_cast<std::ptrdiff_t>(from), stream.end(), 0) -
        stream.begin());
    const Tokens tokens = tokens_of(stream.subspan(from, end - from));
    if (!tokens.empty()) fn(tokens);
    from = end + 1;
  }
}

std::uint64_t whole(const Tokens& tokens) {
  std::uint64_t hash = 0;
  for_grams(tokens, tokens.size(), [&](std::uint64_t h) { hash = h; });
  return hash;
}

// Indices of the test documents that a key leads to.
using Index = std::unordered_map<std::uint64_t, std::vector<std::size_t>>;

}  // namespace

Json Overlap::to_json() const {
  Json j = Json::object();
  j["test_documents"] = documents;
  j["exact"] = exact;
  j["near"] = near;
  j["ngram13"] = ngram13;
  return j;
}

Overlap overlap_of(std::span<const std::uint8_t> train, std::span<const std::uint8_t> test) {
  Index by_whole, by_band, by_gram;
  std::vector<Signature> signatures;
  for_documents(test, [&](const Tokens& tokens) {
    const std::size_t i = signatures.size();
    signatures.push_back(signature_of(tokens));
    by_whole[whole(tokens)].push_back(i);
    for (std::size_t band = 0; band < kBands; ++band)
      by_band[band_of(signatures[i], band)].push_back(i);
    if (tokens.size() < kGram) return;
    for_grams(tokens, kGram, [&](std::uint64_t hash) {
      auto& documents = by_gram[hash];
      if (documents.empty() || documents.back() != i) documents.push_back(i);
    });
  });
  const std::size_t n = signatures.size();
  std::vector<char> exact(n, 0), near(n, 0), shared(n, 0);
  const auto mark = [](const Index& index, std::uint64_t key, std::vector<char>& marks) {
    const auto found = index.find(key);
    if (found == index.end()) return;
    for (const std::size_t i : found->second) marks[i] = 1;
  };
  for_documents(train, [&](const Tokens& tokens) {
    mark(by_whole, whole(tokens), exact);
    const Signature s = signature_of(tokens);
    for (std::size_t band = 0; band < kBands; ++band) {
      const auto found = by_band.find(band_of(s, band));
      if (found == by_band.end()) continue;
      for (const std::size_t i : found->second)
        near[i] = near[i] != 0 || similarity(s, signatures[i]) >= kNear ? 1 : 0;
    }
    if (tokens.size() < kGram) return;
    for_grams(tokens, kGram, [&](std::uint64_t hash) { mark(by_gram, hash, shared); });
  });
  const auto count = [](const std::vector<char>& marks) {
    return static_cast<std::int64_t>(std::count(marks.begin(), marks.end(), 1));
  };
  return {static_cast<std::int64_t>(n), count(exact), count(near), count(shared)};
}

}  // namespace subquad
