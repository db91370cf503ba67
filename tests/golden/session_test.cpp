// Published models through Session: greedy text as their packages gave it, also after a fork and
// from a file.
#include "subquad/runtime/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/runtime/sampler.h"
#include "tests/golden/golden.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

std::vector<std::int32_t> ids_of(const Safetensors& file, const std::string& name) {
  const Tensor stored = file.read(name);
  return {stored.host<std::int64_t>().begin(), stored.host<std::int64_t>().end()};
}

struct Opened {
  std::unique_ptr<Pretrained> model;
  Safetensors expected;
  ParameterStore store;
  Engine engine;
  std::vector<std::int32_t> prompt, greedy;

  explicit Opened(const std::string& folder)
      : model(open_pretrained(folder)),
        expected(folder + "/expected.safetensors"),
        store(model->plan, DType::f32, 0),
        engine(2),
        prompt(ids_of(expected, "input_ids")),
        greedy(ids_of(expected, "greedy")) {
    model->load(store);
  }
  Session session(const SessionOptions& options = {}) {
    return Session(engine, *model->model, store, options);
  }
  std::span<const std::int32_t> row(const std::vector<std::int32_t>& ids, std::size_t r) const {
    return std::span(ids).subspan(r * ids.size() / 2, ids.size() / 2);
  }
};

template <class Check>
void for_each_case(Check&& check) {
  int seen = 0;
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(golden_folder("checkpoints")))
    if (entry.is_directory() && fs::exists(entry.path() / "expected.safetensors"))
      folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  for (const std::string& folder : folders) {
    SCOPED_TRACE(folder);
    Opened opened(folder);
    check(opened);
    ++seen;
  }
  EXPECT_GE(seen, 18);
}

// Greedy continuation of every row of a session.
std::vector<std::vector<std::int32_t>> greedy_text(Session& s, std::size_t steps) {
  const auto rows = static_cast<std::size_t>(s.rows());
  std::vector<std::vector<std::int32_t>> said(rows);
  std::vector<Sampler> samplers(rows, Sampler({.temperature = 0}));
  Tensor logits = s.logits();
  for (std::size_t step = 0; step < steps; ++step) {
    const auto classes = static_cast<std::size_t>(logits.shape()[1]);
    std::vector<std::int32_t> next;
    for (std::size_t r = 0; r < rows; ++r) {
      next.push_back(
          samplers[r].next(std::span<const float>(logits.data<float>() + r * classes, classes)));
      said[r].push_back(next.back());
    }
    logits = s.step(next);
  }
  return said;
}

TEST(GoldenSession, GreedyTextInABatchAloneAndInPieces) {
  for_each_case([](Opened& c) {
    const std::size_t steps = c.greedy.size() / 2;
    Session both = c.session({.rows = 2});
    both.prefill(c.prompt);
    const auto said = greedy_text(both, steps);
    for (std::size_t r = 0; r < 2; ++r) {
      const auto want = c.row(c.greedy, r);
      EXPECT_TRUE(std::equal(want.begin(), want.end(), said[r].begin(), said[r].end()));
      for (const std::int64_t piece : {1, 7}) {
        Session alone = c.session({.piece_tokens = piece});
        alone.prefill(c.row(c.prompt, r));
        EXPECT_EQ(greedy_text(alone, steps)[0], said[r]) << "row " << r << " pieces of " << piece;
      }
    }
  });
}

// Three forks of one prefix go their own ways, each with the bits that it has alone; the session
// that was forked stays as it was.
TEST(GoldenSession, AForkIsIndependent) {
  for_each_case([](Opened& c) {
    Session one = c.session();
    one.prefill(c.row(c.prompt, 0));
    const Tensor before = one.logits();
    Session three = one.fork(3), copy = one;
    const std::int32_t ways[] = {5, 9, 200};
    three.step(ways);
    const Tensor after = three.step(ways);
    for (std::int64_t r = 0; r < 3; ++r) {
      Session alone = c.session();
      alone.prefill(c.row(c.prompt, 0));
      alone.step(std::span(ways).subspan(static_cast<std::size_t>(r), 1));
      const Tensor want = alone.step(std::span(ways).subspan(static_cast<std::size_t>(r), 1));
      EXPECT_TRUE(same_bits(after.rows(r, 1), want)) << "fork " << r;
    }
    const std::int64_t kept[] = {2, 0};
    Session fewer = three.select(kept);
    const std::int32_t next[] = {7, 8}, all[] = {8, 1, 7};
    const Tensor a = fewer.step(next), b = three.step(all);
    EXPECT_TRUE(same_bits(a.rows(0, 1), b.rows(2, 1)));
    EXPECT_TRUE(same_bits(a.rows(1, 1), b.rows(0, 1)));
    copy.step(std::span(ways).first(1));
    EXPECT_TRUE(same_bits(one.logits(), before));
    EXPECT_EQ(one.positions() + 1, copy.positions());
    EXPECT_EQ(three.ids(1).size(), static_cast<std::size_t>(one.positions()) + 3);
  });
}

TEST(GoldenSession, AStateFromAFileContinuesBitForBit) {
  const std::string path = temporary_path("golden.state");
  for_each_case([&](Opened& c) {
    Session s = c.session({.rows = 2});
    s.prefill(c.prompt);
    s.save(path);
    Session loaded = Session::load(c.engine, *c.model->model, c.store, path);
    EXPECT_EQ(loaded.positions(), s.positions());
    EXPECT_TRUE(same_bits(loaded.logits(), s.logits()));
    EXPECT_TRUE(std::equal(s.ids(1).begin(), s.ids(1).end(), loaded.ids(1).begin()));
    const std::int32_t next[] = {17, 3};
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(loaded.step(next), s.step(next)));
    loaded.save(path);
    const std::string again = read_file(path);
    s.save(path);
    EXPECT_EQ(read_file(path), again);
  });
  std::remove(path.c_str());
}

}  // namespace
}  // namespace subquad
