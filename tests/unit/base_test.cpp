#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <atomic>
#include <set>

#include "subquad/backend/segments.h"
#include "subquad/base/digest.h"
#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "subquad/base/round.h"
#include "subquad/base/thread_pool.h"
#include "subquad/data/tokenizer/unicode.h"
#include "subquad/io/json.h"
#include "subquad/tensor/tensor.h"

namespace subquad {
namespace {

TEST(Rng, IsAPureFunctionOfItsFourCoordinates) {
  const Rng a{1, stream_id("x")};
  EXPECT_EQ(a.words(3, 4), (Rng{1, stream_id("x")}).words(3, 4));
  EXPECT_NE(a.words(3, 4), a.words(4, 3));
  EXPECT_NE(a.words(3, 4), (Rng{2, stream_id("x")}).words(3, 4));
  EXPECT_NE(a.words(3, 4), (Rng{1, stream_id("y")}).words(3, 4));
}

TEST(Rng, MomentsOfUniformAndNormal) {
  const Rng r{7, 7};
  double u = 0, n = 0, n2 = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    u += r.uniform(0, i);
    const double z = r.normal(1, i);
    n += z;
    n2 += z * z;
    const auto b = r.below(7, 2, i);
    ASSERT_TRUE(b >= 0 && b < 7);
  }
  EXPECT_NEAR(u / kCount, 0.5, 0.01);
  EXPECT_NEAR(n / kCount, 0, 0.03);
  EXPECT_NEAR(n2 / kCount, 1, 0.04);
}

TEST(Round, MultiplesOfAnyUnitAroundAnyNumber) {
  for (const std::int64_t unit : {1, 2, 3, 4, 7, 8, 10, 16, 64}) {
    for (std::int64_t n = -150; n <= 150; ++n) {
      const std::int64_t down = round_down(n, unit), up = round_up(n, unit);
      EXPECT_EQ(down % unit, 0) << n << " " << unit;
      EXPECT_TRUE(down <= n && n < down + unit) << n << " " << unit;
      EXPECT_EQ(up, down == n ? n : down + unit) << n << " " << unit;
    }
  }
  constexpr std::int64_t kLarge = std::int64_t{1} << 61;
  EXPECT_EQ(round_down(kLarge + 5, 8), kLarge);
  EXPECT_EQ(round_up(-kLarge - 5, 8), -kLarge);
}

TEST(ThreadPool, RunsEveryTaskOnceAndRethrows) {
  for (int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> hits(1000);
    for (int round = 0; round < 20; ++round) {
      pool.run(1000, [&](std::int64_t i, Scratch& s) {
        s.get<float>(100)[99] = 1;
        ++hits[static_cast<std::size_t>(i)];
      });
    }
    for (auto& h : hits) EXPECT_EQ(h.load(), 20);
    EXPECT_THROW(
        pool.run(10, [](std::int64_t i, Scratch&) { require(i != 5, ErrorCode::numeric, "x"); }),
        Error);
    pool.run(3, [&](std::int64_t, Scratch&) {});
  }
}

TEST(Json, RoundTripKeepsOrderIntegersAndDoubles) {
  const std::string text = R"({"b":1,"a":[1.5,true,null,"x\n\u00e9"],"c":{"d":-3}})";
  const Json v = Json::parse(text, "test");
  EXPECT_EQ(Json::parse(v.dump(), "again"), v);
  EXPECT_EQ(v.as_object()[0].first, "b");
  EXPECT_EQ(Json(0.1).dump(), "0.1");
  EXPECT_EQ(Json(3.0).dump(), "3.0");
  EXPECT_THROW(Json::parse(R"({"a":1,"a":2})", "dup"), Error);
  EXPECT_THROW(Json::parse("{\"a\":", "cut"), Error);
  EXPECT_GT(Json::parse(R"({"x":Infinity})", "inf").at("x").as_double(), 1e300);
}

TEST(Json, NearestKey) {
  EXPECT_EQ(nearest_key("seed", {"seeds", "arms"}), "seeds");
  EXPECT_EQ(nearest_key("zzzzzz", {"seeds", "arms"}), "");
  // A key of a file may have megabytes, and names of a file, too.
  const std::string huge(16 << 20, 'q');
  EXPECT_EQ(nearest_key(huge, {std::string(4096, 'q'), "arms"}), "");
  EXPECT_EQ(nearest_key("arm", {huge, "arms"}), "arms");
}

TEST(Error, AMessageIsNotAsLongAsAFileDecides) {
  std::string huge;
  for (int i = 0; i < 1 << 20; ++i) huge += "\xC3\xA4";
  Error e(ErrorCode::format, "config.json: key \"" + huge + "\", wanted another");
  e.add_context("run 7");
  const std::string text = e.what();
  EXPECT_LT(text.size(), 4200U);
  EXPECT_TRUE(text.starts_with("run 7: config.json: key")) << text;
  EXPECT_TRUE(text.ends_with("wanted another")) << text;
  EXPECT_NE(text.find(" bytes left out]"), std::string::npos);
  EXPECT_TRUE(is_valid_utf8(text));
}

TEST(Digest, KnownAnswer) {
  EXPECT_EQ(sha256(std::string_view("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Spans, ResetsPaddingPacking) {
  const std::vector<std::int64_t> starts = {0, 3, 12}, valid = {5, 8};
  const Spans s({.document_starts = starts, .valid_lengths = valid}, 2, 8);
  ASSERT_EQ(s.row(0).size(), 2U);
  EXPECT_TRUE(s.row(0)[0].reset);
  EXPECT_EQ(s.row(0)[0].end, 3);
  EXPECT_EQ(s.row(0)[1].end, 5);
  ASSERT_EQ(s.row(1).size(), 2U);
  EXPECT_FALSE(s.row(1)[0].reset);
  EXPECT_EQ(s.row(1)[1].begin, 4);
  EXPECT_FALSE(s.trivial());
  EXPECT_TRUE(Spans({}, 2, 8).trivial());
}

TEST(Tensor, SlicesShareAndPoolReuses) {
  StoragePool pool;
  const Tensor t = Tensor::zeros({4, 3}, DType::f32, &pool);
  t.rows(2, 1).data<float>()[1] = 5;
  EXPECT_EQ(t.data<float>()[7], 5);
  EXPECT_THROW(t.rows(3, 2), Error);
  EXPECT_THROW(t.data<double>(), Error);
  const void* p = nullptr;
  {
    const Tensor a({100}, DType::f32, &pool);
    p = a.raw();
  }
  EXPECT_EQ(Tensor({100}, DType::f32, &pool).raw(), p);
  EXPECT_THROW((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}.numel()), Error);
}

TEST(File, HalfALineOfAKilledProcessGoes) {
  const std::string path = testing::TempDir() + "/subquad-lines-" + std::to_string(getpid());
  for (const std::string before : {"", "{}\n", "{}\n{\"half\":", "{\"half"}) {
    std::ofstream(path, std::ios::binary) << before;
    append_line(path, "[1]");
    EXPECT_EQ(read_file(path), (before.starts_with("{}\n") ? "{}\n[1]\n" : "[1]\n"));
  }
  std::filesystem::remove(path);
}

TEST(Files, ALinkIsWrittenThrough) {
  const std::string path = testing::TempDir() + "/subquad-target-" + std::to_string(getpid()),
                    link = path + "-link";
  std::ofstream(path) << "old";
  std::filesystem::remove(link);
  std::filesystem::create_symlink(path, link);
  write_file_atomically(link, "new");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(read_file(path), "new");
  std::filesystem::remove(link);
  std::filesystem::remove(path);
}

// `--out /dev/null` once put a regular file in its place.
TEST(Files, APipeIsWrittenToAndStaysOne) {
  const std::string path = testing::TempDir() + "/subquad-pipe-" + std::to_string(getpid());
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_file_atomically(path, "four");
  char got[8] = {};
  EXPECT_EQ(read(reader, got, sizeof got), 4);
  EXPECT_STREQ(got, "four");
  close(reader);
  EXPECT_TRUE(std::filesystem::is_fifo(path));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace subquad
