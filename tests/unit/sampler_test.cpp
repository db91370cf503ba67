#include "subquad/runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "subquad/base/error.h"

namespace subquad {
namespace {

const std::vector<float> kLogits = {0.5f, 2.0f, -1.0f, 1.0f, 2.0f, -0.5f};

std::vector<double> softmax(const std::vector<double>& l) {
  double total = 0;
  std::vector<double> p;
  for (const double x : l) total += std::exp(x);
  for (const double x : l) p.push_back(std::exp(x) / total);
  return p;
}

// Probabilities of ids after the filters, computed the long way: sort, cut, renormalise, in turn.
std::map<std::int32_t, double> exact(const SamplerOptions& o, std::vector<double> l) {
  for (double& x : l) x /= o.temperature;
  std::vector<double> p = softmax(l);
  std::vector<std::int32_t> order(p.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  const auto of = [&](std::int32_t id) -> double& { return p[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return of(a) > of(b); });
  const auto renormalise = [&] {
    double total = 0;
    for (const auto id : order) total += of(id);
    for (const auto id : order) of(id) /= total;
  };
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < order.size())
    order.resize(static_cast<std::size_t>(o.top_k));
  renormalise();
  double kept = 0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < o.top_p)) kept += of(order[count++]);
  order.resize(count);
  renormalise();
  std::erase_if(order, [&, top = of(order[0])](auto id) { return of(id) < o.min_p * top; });
  renormalise();
  std::map<std::int32_t, double> out;
  for (const auto id : order) out[id] = of(id);
  return out;
}

std::vector<double> widened(const std::vector<float>& logits) {
  return {logits.begin(), logits.end()};
}

TEST(Sampler, CandidatesHaveTheExactProbabilities) {
  const SamplerOptions cases[] = {
      {.temperature = 1, .top_p = 1},
      {.temperature = 0.5, .top_p = 1},
      {.temperature = 1, .top_k = 3, .top_p = 1},
      {.temperature = 1, .top_k = 1, .top_p = 1},
      {.temperature = 1.3, .top_p = 0.7},
      {.temperature = 1, .top_p = 1, .min_p = 0.3},
      {.temperature = 0.8, .top_k = 4, .top_p = 0.8, .min_p = 0.35},
      {.temperature = 2, .top_k = 5, .top_p = 0.99, .min_p = 0.1},
  };
  for (const SamplerOptions& o : cases) {
    const auto want = exact(o, widened(kLogits));
    const auto got = Sampler(o).candidates(kLogits);
    ASSERT_EQ(got.size(), want.size()) << o.temperature << " " << o.top_k << " " << o.top_p;
    for (const auto& c : got) {
      ASSERT_TRUE(want.contains(c.id)) << c.id;
      EXPECT_NEAR(c.probability, want.at(c.id), 1e-12);
    }
  }
}

// The filters do not commute, and top-k comes first: after it the likeliest two hold 0.84 of the
// mass, before it 0.72.
TEST(Sampler, TopPSeesWhatTopKLeft) {
  const SamplerOptions both{.temperature = 1, .top_k = 3, .top_p = 0.8};
  EXPECT_EQ(Sampler(both).candidates(kLogits).size(), 2u);
  const SamplerOptions only{.temperature = 1, .top_p = 0.8};
  EXPECT_EQ(Sampler(only).candidates(kLogits).size(), 3u);
}

TEST(Sampler, OfEqualLogitsTheSmallerIdStays) {
  const auto got = Sampler({.temperature = 1, .top_k = 1}).candidates(kLogits);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].id, 1);
  EXPECT_EQ(Sampler({.temperature = 0}).next(kLogits), 1);
}

TEST(Sampler, RepetitionPenaltyCountsEveryReadIdOnce) {
  Sampler s({.temperature = 1, .top_p = 1, .repetition_penalty = 2});
  const std::int32_t read[] = {1, 1, 2};
  s.read(read);
  std::vector<double> l = widened(kLogits);
  l[1] /= 2;
  l[2] *= 2;
  const std::vector<double> want = softmax(l);
  for (const auto& c : s.candidates(kLogits))
    EXPECT_NEAR(c.probability, want[static_cast<std::size_t>(c.id)], 1e-12);
  // What is drawn counts as read: greedy goes 4, then 3, for 1 and 4 are halved.
  Sampler greedy({.temperature = 0, .repetition_penalty = 2.5});
  greedy.read(read);
  EXPECT_EQ(greedy.next(kLogits), 4);
  EXPECT_EQ(greedy.next(kLogits), 3);
}

// Chi-squared of 20000 draws against the exact distribution; 3 degrees of freedom, 0.001: 16.3.
TEST(Sampler, DrawsFollowTheDistribution) {
  const SamplerOptions o{.temperature = 0.9, .top_k = 4, .top_p = 1, .seed = 7};
  const auto want = exact(o, widened(kLogits));
  ASSERT_EQ(want.size(), 4u);
  constexpr int kDraws = 20000;
  std::map<std::int32_t, int> seen;
  Sampler s(o);
  for (int i = 0; i < kDraws; ++i) ++seen[s.next(kLogits)];
  double chi = 0;
  for (const auto& [id, p] : want) chi += std::pow(seen[id] - kDraws * p, 2) / (kDraws * p);
  EXPECT_LT(chi, 16.3);
  EXPECT_EQ(seen.size(), 4u);
}

TEST(Sampler, ADrawIsAFunctionOfSeedAndPosition) {
  const SamplerOptions o{.temperature = 1, .top_p = 1, .seed = 3};
  Sampler whole(o), rest(o), other({.temperature = 1, .top_p = 1, .seed = 4});
  std::vector<std::int32_t> a, b, c;
  for (int i = 0; i < 40; ++i) a.push_back(whole.next(kLogits));
  rest.read(std::span(a).first(25));
  for (int i = 25; i < 40; ++i) b.push_back(rest.next(kLogits));
  EXPECT_TRUE(std::equal(b.begin(), b.end(), a.begin() + 25));
  for (int i = 0; i < 40; ++i) c.push_back(other.next(kLogits));
  EXPECT_NE(a, c);
}

TEST(Sampler, WhatIsNoDistributionIsRefused) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> bad[] = {{0, std::nanf("")}, {kInf, 0}, {-kInf, -kInf}, {}};
  for (const auto& logits : bad) {
    for (const double t : {0.0, 1.0}) EXPECT_THROW(Sampler({.temperature = t}).next(logits), Error);
  }
  Sampler masked({.temperature = 5, .top_p = 1});
  for (int i = 0; i < 200; ++i) EXPECT_EQ(masked.next(std::vector<float>{-kInf, 1, -kInf}), 1);
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.top_p = std::nan("")}), Error);
  EXPECT_THROW(Sampler({.min_p = 1.5}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), Error);
}

}  // namespace
}  // namespace subquad
