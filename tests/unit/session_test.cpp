// Session and its file on a small hybrid of our own.
#include "subquad/runtime/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/io/safetensors.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Small {
  ParameterPlan plan;
  Model model;
  ParameterStore store;
  Engine engine;

  explicit Small(std::uint64_t seed = 1, const std::string& arm = "mamba2:attention[1:1]")
      : model({.vocabulary = 50,
               .classes = 50,
               .d_model = 16,
               .heads = 2,
               .mlp_hidden = 16,
               .layers = arm_layers(arm, 2)},
              plan),
        store(plan, DType::f32, seed) {}
  Session session(const SessionOptions& options = {}) { return {engine, model, store, options}; }
  Session load(const std::string& path) { return Session::load(engine, model, store, path); }
};

std::vector<std::int32_t> some_ids(std::int64_t count) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(i * 37 % 50));
  return ids;
}

double distance(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a.data<float>()[i] - b.data<float>()[i])));
  return worst;
}

TEST(Session, ScoresAreThoseOfTheWholeSequence) {
  Small s;
  const auto ids = some_ids(41);
  const std::span<const std::int32_t> inputs(ids.data(), 40), targets(ids.data() + 1, 40);
  std::vector<std::int32_t> some(targets.begin(), targets.end());
  some[3] = -1;
  Context cx = s.engine.context(s.store);
  const Tensor logits =
      s.model.logits(cx, Tensor::from<std::int32_t>({1, 40}, inputs), {}, nullptr).value;
  for (const std::int64_t piece : {1, 7, 64}) {
    Session session = s.session({.piece_tokens = piece});
    const RowScores got = session.score(inputs, some);
    for (std::int64_t t = 0; t < 40; ++t) {
      const float* row = logits.data<float>() + t * 50;
      double sum = 0;
      for (int i = 0; i < 50; ++i) sum += std::exp(static_cast<double>(row[i]));
      const auto at = static_cast<std::size_t>(t);
      const double want = some[at] < 0 ? 0 : std::log(sum) - static_cast<double>(row[some[at]]);
      EXPECT_NEAR(static_cast<double>(got.loss[at]), want, 1e-4) << "position " << t;
    }
    EXPECT_LT(distance(session.logits(), logits.slice(39 * 50, {1, 50})), 1e-4);
    session.reset();
    EXPECT_EQ(session.positions(), 0);
    EXPECT_EQ(session.score(inputs, some).loss, got.loss);
  }
}

TEST(Session, WrongUseIsExplained) {
  Small s;
  Session session = s.session({.rows = 2});
  const auto ids = some_ids(4);
  EXPECT_THROW(session.logits(), Error);
  EXPECT_THROW(session.save(temporary_path("never")), Error);
  EXPECT_THROW(session.prefill(std::span(ids).first(3)), Error);
  EXPECT_THROW(session.step(ids), Error);
  EXPECT_THROW(session.fork(2), Error);
  const std::int32_t bad[] = {3, 50}, negative[] = {-1, 0};
  EXPECT_THROW(session.prefill(bad), Error);
  EXPECT_THROW(session.prefill(negative), Error);
  EXPECT_EQ(session.positions(), 0);
  session.prefill(ids);
  const std::int64_t rows[] = {2};
  EXPECT_THROW(session.select(rows), Error);
  Session forgetful = s.session({.keep_ids = false});
  forgetful.prefill(ids);
  EXPECT_EQ(forgetful.positions(), 4);
  EXPECT_TRUE(forgetful.ids().empty());
  EXPECT_THROW(forgetful.save(temporary_path("never")), Error);
}

class StateFile : public testing::Test {
 protected:
  StateFile() : path_(temporary_path("session.state")) {
    Session session = small_.session();
    session.prefill(some_ids(9));
    session.save(path_);
    bytes_ = read_file(path_);
  }
  ~StateFile() override { std::filesystem::remove(path_); }

  void expect_refused(const std::string& part) {
    try {
      small_.load(path_);
      ADD_FAILURE() << "was loaded; wanted an error with " << part;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(path_), std::string::npos) << e.what();
    }
  }
  void put(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  // The file again, changed, with digests that fit the change if `honest`.
  void rewrite(
      const std::function<void(NamedTensors&, std::map<std::string, std::string>&)>& change,
      bool honest = true) {
    write_file_atomically(path_, bytes_);
    NamedTensors tensors;
    std::map<std::string, std::string> metadata;
    {
      const Safetensors file(path_);
      metadata = file.metadata();
      for (const char* name :
           {"tokens", "features", "blocks.0.S", "blocks.0.conv", "blocks.1.k", "blocks.1.v"})
        tensors.emplace_back(name, file.read(name));
      ASSERT_EQ(file.entries().size(), tensors.size());
    }
    change(tensors, metadata);
    if (honest) {
      Sha256 all;
      for (const auto& [name, t] : tensors) {
        const std::span bytes(static_cast<const std::byte*>(t.raw()),
                              static_cast<std::size_t>(t.bytes()));
        if (name == "tokens") metadata["tokens_sha256"] = sha256(bytes);
        all.update(name);
        for (int i = 0; i < t.shape().rank; ++i) all.update("," + std::to_string(t.shape()[i]));
        all.update(";");
        all.update(bytes);
      }
      metadata["state_sha256"] = all.finish();
    }
    write_safetensors(path_, tensors, metadata);
  }

  Small small_;
  std::string path_, bytes_;
};

TEST_F(StateFile, NamesTheTokensItBelongsTo) {
  const Session s = small_.load(path_);
  const auto want = some_ids(9);
  EXPECT_TRUE(std::equal(want.begin(), want.end(), s.ids().begin(), s.ids().end()));
  rewrite([](auto&, auto&) {});
  EXPECT_EQ(small_.load(path_).positions(), 9);  // the test's digests are those of the format
}

TEST_F(StateFile, AnotherModelIsRefused) {
  Small other(2), shape(1, "attention:mamba2[1:1]");
  for (Small* s : {&other, &shape}) {
    try {
      s->load(path_);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("state of another model"), std::string::npos)
          << e.what();
    }
  }
  small_.store.value(small_.model.head_weight()).data<float>()[3] += 1e-3f;
  expect_refused("state of another model");
}

TEST_F(StateFile, TruncationsAndFlippedBitsAreNoticed) {
  for (std::size_t size = 0; size < bytes_.size(); size += 1 + bytes_.size() / 97) {
    put(bytes_.substr(0, size));
    EXPECT_THROW(small_.load(path_), Error) << size;
  }
  const Rng rng{3, 1};
  for (std::uint64_t i = 0; i < 400; ++i) {
    std::string damaged = bytes_;
    const auto bit =
        static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(8 * bytes_.size()), i, 0));
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    put(damaged);
    EXPECT_THROW(small_.load(path_), Error) << "bit " << bit;
  }
}

TEST_F(StateFile, WhatDoesNotFitIsRefusedByName) {
  rewrite([](auto&, auto& m) { m["version"] = "2"; });
  expect_refused("version 2");
  rewrite([](auto&, auto& m) { m["format"] = "pt"; });
  expect_refused("not the state of a session");
  rewrite([](auto&, auto& m) { m.erase("model"); });
  expect_refused("no \"model\"");
  rewrite([](auto& t, auto&) { t.erase(t.begin() + 2); });
  expect_refused("blocks.0.S is missing");
  rewrite([](auto& t, auto&) { t.emplace_back("blocks.7.S", t[2].second); });
  expect_refused("blocks.7.S is of no state");
  rewrite([](auto& t, auto&) { t[0].second = Tensor::zeros({1, 10}, DType::i32); });
  expect_refused("blocks.1.k is f32 of shape");  // a cache of 9 positions
  rewrite([](auto& t, auto&) { t[0].second = Tensor::zeros({9}, DType::i32); });
  expect_refused("tokens has shape");
  rewrite([](auto& t, auto&) { t[0].second = Tensor::zeros({1000000, 1}, DType::i32); });
  expect_refused("features is f32 of shape");  // no million sequences are made
  rewrite([](auto& t, auto&) { t[0].second.template data<std::int32_t>()[4] = 77; });
  try {
    small_.load(path_);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("id 77"), std::string::npos) << e.what();
  }
  rewrite([](auto& t, auto&) { t[0].second.template data<std::int32_t>()[4] = 7; }, false);
  expect_refused("tokens do not match their digest");
  rewrite([](auto& t, auto&) { t[2].second.template data<float>()[4] = 7; }, false);
  expect_refused("damaged");
  write_file_atomically(path_, "");
  EXPECT_THROW(small_.load(path_), Error);
  EXPECT_THROW(small_.load("/nowhere/at/all"), Error);
}

}  // namespace
}  // namespace subquad
