// Tasks: definitions against brute force, pure functions of (seed, step), train and test apart,
// metrics by hand.
#include "subquad/task/task.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "subquad/base/rng.h"
#include "subquad/data/corpus.h"
#include "subquad/data/ngram.h"

namespace subquad {
namespace {

std::vector<std::int32_t> ids(const Tensor& t) {
  const auto s = t.host<std::int32_t>();
  return {s.begin(), s.end()};
}

TEST(Tasks, ParityAndS3AreRunningProducts) {
  const auto parity = make_task("parity", {.seed = 3, .extra = {}});
  const Batch b = parity->train_batch(7);
  const auto in = ids(b.inputs), target = ids(b.targets);
  for (std::size_t r = 0; r < 32; ++r) {
    int state = 0;
    for (std::size_t t = 0; t < 32; ++t) EXPECT_EQ(target[r * 32 + t], state ^= in[r * 32 + t]);
  }
  // S3: the targets must obey the group: equal (state, input) gives equal next state, and each
  // input permutes states.
  const auto s3 = make_task("s3", {.seed = 1, .total_steps = 100, .extra = {}});
  std::map<std::pair<int, int>, int> table;
  for (std::int64_t step = 60; step < 80; ++step) {
    const Batch c = s3->train_batch(step);
    const auto x = ids(c.inputs), y = ids(c.targets);
    const auto T = static_cast<std::size_t>(c.inputs.shape()[1]);
    for (std::size_t r = 0; r < static_cast<std::size_t>(c.inputs.shape()[0]); ++r) {
      int state = 0;
      for (std::size_t t = 0; t < T; ++t) {
        const auto [it, fresh] = table.try_emplace({state, x[r * T + t]}, y[r * T + t]);
        ASSERT_EQ(it->second, y[r * T + t]);
        state = y[r * T + t];
      }
    }
  }
  EXPECT_EQ(table.size(), 36U);
  bool commutes = true;
  for (int a = 0; a < 6; ++a) {
    std::set<int> images;
    for (int s = 0; s < 6; ++s) {
      images.insert(table[{s, a}]);
      commutes = commutes && table[{a, s}] == table[{s, a}];
    }
    EXPECT_EQ(images.size(), 6U);
  }
  EXPECT_FALSE(commutes);
}

TEST(Tasks, CurriculumGrowsAndEndsAtTheTrainingLength) {
  const auto s3 = make_task("s3", {.seed = 1, .total_steps = 1000, .extra = {}});
  EXPECT_LE(s3->train_batch(0).inputs.shape()[1], 4);
  std::int64_t longest = 0;
  for (std::int64_t step = 700; step < 760; ++step) {
    const std::int64_t T = s3->train_batch(step).inputs.shape()[1];
    EXPECT_GE(T, 16);
    longest = std::max(longest, T);
  }
  EXPECT_EQ(longest, 32);
}

TEST(Tasks, BatchesArePureFunctionsOfSeedAndStep) {
  for (const char* name : {"parity", "s3", "anbn", "plurality", "mqar"}) {
    const auto a = make_task(name, {.seed = 1, .total_steps = 100, .extra = {}}),
               b = make_task(name, {.seed = 1, .total_steps = 100, .extra = {}});
    const auto other = make_task(name, {.seed = 2, .total_steps = 100, .extra = {}});
    EXPECT_EQ(ids(a->train_batch(90).inputs), ids(b->train_batch(90).inputs)) << name;
    EXPECT_NE(ids(a->train_batch(90).inputs), ids(a->train_batch(91).inputs)) << name;
    EXPECT_NE(ids(a->train_batch(90).inputs), ids(other->train_batch(90).inputs)) << name;
    const std::int64_t length = a->spec().lengths[1];
    EXPECT_EQ(ids(a->eval_batch(Split::test, length, 0).inputs),
              ids(other->eval_batch(Split::test, length, 0).inputs))
        << name << ": tests do not depend on the seed";
  }
}

TEST(Tasks, NoSampleIsInBothTrainAndTest) {
  for (const char* name : {"parity", "s3", "plurality", "mqar"}) {
    const auto task = make_task(name, {.seed = 5, .extra = {}});
    const std::int64_t T = task->spec().train_length;
    std::set<std::vector<std::int32_t>> test;
    for (std::int64_t i = 0; i < task->eval_batches(Split::test, T); ++i) {
      const Batch b = task->eval_batch(Split::test, T, i);
      const auto x = ids(b.inputs);
      for (std::size_t r = 0; r < x.size(); r += static_cast<std::size_t>(T))
        test.insert({x.begin() + static_cast<std::ptrdiff_t>(r),
                     x.begin() + static_cast<std::ptrdiff_t>(r) + T});
    }
    for (std::int64_t step = 0; step < 100; ++step) {
      const auto x = ids(task->train_batch(step).inputs);
      for (std::size_t r = 0; r < x.size(); r += static_cast<std::size_t>(T)) {
        EXPECT_FALSE(test.contains({x.begin() + static_cast<std::ptrdiff_t>(r),
                                    x.begin() + static_cast<std::ptrdiff_t>(r) + T}))
            << name;
      }
    }
  }
}

// Metrics of one batch whose predictions are given.
double value(const Task& task, std::int64_t length, const Batch& b,
             const std::vector<std::int32_t>& predicted, const std::string& name) {
  const Scored s[1] = {{b, std::vector<float>(predicted.size(), 0.5F), predicted}};
  for (const Metric& m : task.score(length, s)) {
    if (m.name == name) return m.value;
  }
  ADD_FAILURE() << "no metric " << name;
  return -1;
}

TEST(Tasks, MetricsByHand) {
  const auto anbn = make_task("anbn", {.extra = {}});
  const Batch b = anbn->eval_batch(Split::test, 32, 0);
  auto predicted = ids(b.targets);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 1);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "exact"), 1);
  predicted[16 + 1 + 3] = 3;  // the end after the 4th b of 16
  EXPECT_DOUBLE_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 0.25);
  std::fill(predicted.begin(), predicted.end(), 2);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 2) << "never stops";
  EXPECT_DOUBLE_EQ(value(*anbn, 32, b, predicted, "balanced_accuracy"), 0.5);

  const auto parity = make_task("parity", {.extra = {}});
  const Batch p = parity->eval_batch(Split::test, 32, 0);
  auto half = ids(p.targets);
  for (std::size_t i = 0; i < half.size(); ++i) {
    if (i % 32 >= 24) half[i] ^= 1;  // the last quarter all wrong
  }
  EXPECT_EQ(value(*parity, 32, p, half, "tail_accuracy"), 0);
  EXPECT_DOUBLE_EQ(value(*parity, 32, p, half, "accuracy"), 0.75);
  EXPECT_DOUBLE_EQ(value(*parity, 32, p, half, "scaled_accuracy"), 0.5);
  EXPECT_EQ(value(*parity, 32, p, half, "horizon"), 25);
}

class Folder {
 public:
  Folder()  // one per test: tests run side by side
      : path_(testing::TempDir() + "/subquad-corpus-" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(
        std::filesystem::path(path_ + "/src/" + name).parent_path());
    std::ofstream(path_ + "/src/" + name, std::ios::binary) << text;
  }
  CorpusOptions options(bool code = true) const {
    return {.source = path_ + "/src", .code = code, .cache = path_ + "/cache"};
  }

 private:
  std::string path_;
};

std::string source_text(int n) {
  std::string s;
  for (int i = 0; i < 40; ++i)
    s += "def function_" + std::to_string(n) + "_" + std::to_string(i) +
         "(value):\n    return value + other\n";
  return s;
}

TEST(Corpus, CleansDeduplicatesAndSplitsByProject) {
  const Folder f;
  for (int p = 0; p < 24; ++p) f.write("project" + std::to_string(p) + "/a.py", source_text(p));
  f.write("project0/copy.py", source_text(0) + "\n\n");
  f.write("project1/vendor/b.py", source_text(100));
  f.write("project2/gen.py", "# generated by a tool, do not edit\n" + source_text(101));
  f.write("project3/bin.py", std::string("\0\1\2", 3) + source_text(102));
  f.write("project4/licence.py",
          "# Copyright somebody\n# All rights reserved\n" + source_text(103));
  const ByteCorpus corpus(f.options());
  std::string all;
  for (int s = 0; s < 3; ++s) {
    const auto bytes = corpus.split(s);
    EXPECT_GT(bytes.size(), 1024U);
    EXPECT_EQ(bytes.back(), 0);
    all += std::string(bytes.begin(), bytes.end());
  }
  EXPECT_EQ(all.find("Copyright"), std::string::npos);
  EXPECT_NE(all.find("function_103_0"), std::string::npos) << "only the licence goes";
  for (const char* gone : {"function_100_", "function_101_", "function_102_"})
    EXPECT_EQ(all.find(gone), std::string::npos) << gone;
  EXPECT_EQ(corpus.index().at("dropped").at("duplicate").as_int(), 1);
  EXPECT_EQ(all.find("function_0_0("), all.rfind("function_0_0(")) << "once only";
  // Again from the cache: the same bytes.
  const ByteCorpus again(f.options());
  EXPECT_EQ(again.index(), corpus.index());
}

// A flipped byte in a cached shard is noticed, whatever the lengths say.
TEST(Corpus, ADamagedCacheIsBuiltAgain) {
  const Folder f;
  for (int p = 0; p < 24; ++p) f.write("project" + std::to_string(p) + "/a.py", source_text(p));
  const ByteCorpus before(f.options());
  const std::vector<std::uint8_t> train(before.split(0).begin(), before.split(0).end());
  for (const auto& e : std::filesystem::recursive_directory_iterator(f.options().cache)) {
    if (e.path().filename() != "train.bin") continue;
    std::fstream shard(e.path(), std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(100);
    shard.put('~');
  }
  const ByteCorpus after(f.options());
  EXPECT_TRUE(std::equal(train.begin(), train.end(), after.split(0).begin(), after.split(0).end()));
}

TEST(Corpus, TwoFilesAreCutByPositionAtLineBorders) {
  const Folder f;
  std::string same;  // repetitive: equal parts are no duplicates here
  for (int i = 0; i < 2000; ++i) same += "the same line again\n";
  f.write("a.txt", same);
  f.write("b.txt", source_text(1) + source_text(2) + source_text(3));
  const ByteCorpus corpus(f.options(false));
  EXPECT_NE(corpus.index().at("split").as_string().find("position"), std::string::npos);
  for (int s = 0; s < 3; ++s) {
    const auto bytes = corpus.split(s);
    ASSERT_GT(bytes.size(), 1024U);
    EXPECT_EQ(bytes[bytes.size() - 2], '\n') << "a split ends within a line";
  }
}

// Every split holds a useful share, train at least half, and no function is in two of them.
void expect_useful(const ByteCorpus& corpus, const std::string& what) {
  std::size_t total = 0;
  std::map<std::string, int> owner;
  for (int s = 0; s < 3; ++s) total += corpus.split(s).size();
  for (int s = 0; s < 3; ++s) {
    const auto bytes = corpus.split(s);
    EXPECT_GT(bytes.size(), 1024U) << what;
    EXPECT_GE(bytes.size() * (s == 0 ? 2 : 20), total * 9 / 10) << what << ", split " << s;
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    for (std::string line; std::getline(lines, line);) {
      if (line.find("def function_") == std::string::npos) continue;
      const std::string name = line.substr(line.find("def"));
      EXPECT_EQ(owner.try_emplace(name, s).first->second, s) << what << ": " << name;
    }
  }
}

// Names decide the split, and some are unlucky: no project, or only a small one, in a split.
TEST(Corpus, NoNamesLeaveASplitWithoutAUsefulShare) {
  int moved = 0;
  for (int n = 0; n < 40; ++n) {
    const Folder f;
    const int count = 3 + n % 12;
    for (int i = 0; i < count; ++i) {
      const std::string name = std::string(1, static_cast<char>('a' + i)) + std::to_string(n);
      std::string text;
      for (int part = 0; part <= i % 4; ++part) text += source_text(10 * i + part);
      f.write(n % 2 == 0 ? name + "/a.py" : name + ".py", text);
    }
    const ByteCorpus corpus(f.options());
    const std::string how = corpus.index().at("split").as_string();
    expect_useful(corpus, std::to_string(n) + ": " + how);
    moved += how.find("moved from train") != std::string::npos ? 1 : 0;
    CorpusOptions again = f.options();
    again.cache += "2";
    EXPECT_EQ(ByteCorpus(again).index(), corpus.index()) << "a function of names and sizes";
  }
  EXPECT_GT(moved, 5) << "names that need no help test nothing";
}

TEST(Corpus, UnequalProjectsAreSplitByFileAndUnequalFilesByPosition) {
  const Folder f;
  for (int i = 0; i < 30; ++i) f.write("big/" + std::to_string(i) + ".py", source_text(i));
  for (int i = 0; i < 5; ++i)
    f.write("small" + std::to_string(i) + "/a.py", source_text(100 + i).substr(0, 400));
  const ByteCorpus by_file(f.options());
  expect_useful(by_file, "by file");
  EXPECT_TRUE(by_file.index().at("split").as_string().starts_with("by file (whole"));

  for (int i = 0; i < 4; ++i) {  // each more than a fifth of all bytes
    std::string text;
    for (int part = 0; part < 3; ++part) text += source_text(200 + 3 * i + part);
    f.write("few/" + std::to_string(i) + ".py", text);
  }
  CorpusOptions few = f.options();
  few.source += "/few";
  const ByteCorpus by_position(few);
  expect_useful(by_position, "by position");
  EXPECT_TRUE(by_position.index().at("split").as_string().starts_with("each file by position"));
}

TEST(Corpus, EqualTextsUnderTwoNamesAreInOneSplit) {
  const Folder f;
  for (int p = 0; p < 24; ++p) {
    f.write("one" + std::to_string(p) + "/a.py", source_text(p));
    f.write("two" + std::to_string(p) + "/a.py", "\n" + source_text(p));
  }
  const ByteCorpus corpus(f.options());
  expect_useful(corpus, "copies");
  EXPECT_EQ(corpus.index().at("dropped").at("duplicate").as_int(), 24);
}

// A test split of a tenth of everything used to fill the whole corpus.
TEST(Corpus, MoreThanTheLimitBecomesASampleOfAllSplits) {
  const Folder f;
  for (int p = 0; p < 60; ++p) f.write("p" + std::to_string(p) + "/a.py", source_text(p));
  CorpusOptions o = f.options();
  o.most_bytes = 60000;
  const ByteCorpus sample(o);
  expect_useful(sample, "sample");
  EXPECT_LE(sample.split(0).size() + sample.split(1).size() + sample.split(2).size(), 60000U);
  EXPECT_GT(sample.split(0).size() + sample.split(1).size() + sample.split(2).size(), 57000U);
  EXPECT_GT(sample.index().at("dropped").at("beyond the size limit").as_int(), 0);

  std::string text;
  for (int i = 0; i < 60; ++i) text += source_text(i);
  f.write("one.txt", text);
  o.source += "/one.txt";
  o.code = false;
  const ByteCorpus one(o);
  expect_useful(one, "one file");
  EXPECT_LE(one.split(0).size() + one.split(1).size() + one.split(2).size(), 60003U);
}

TEST(Corpus, TooLittleTextSaysHowMuchWasFound) {
  const Folder f;
  f.write("one.txt", source_text(1).substr(0, 2000));
  try {
    const ByteCorpus corpus(f.options(false));
    FAIL() << "2 kB are no corpus";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("Of 1 file 1 was used. Give a folder with more text, 20 kB or more."),
              std::string::npos)
        << what;
  }
}

TEST(Corpus, AGeneratedMarkInTheLicenceCommentCounts) {
  const Folder f;
  for (int p = 0; p < 24; ++p) f.write("project" + std::to_string(p) + "/a.py", source_text(p));
  f.write("project1/gen.py", "# Copyright somebody\n# @generated from x.y\n" + source_text(104));
  const ByteCorpus corpus(f.options());
  EXPECT_EQ(corpus.index().at("dropped").at("generated").as_int(), 1);
}

// Size and time do not tell two files apart: a file beside the first one, a file put in its place
// (new inode) and its bytes overwritten with the time put back (new ctime) are all other corpora.
TEST(Corpus, AnotherFileOfEqualSizeAndTimeIsAnotherCorpus) {
  namespace fs = std::filesystem;
  const Folder f;
  const auto text = [](char c) {
    std::string s;
    for (int i = 0; i < 200; ++i) s += std::string(75, c) + std::to_string(1000 + i) + "\n";
    return s;
  };
  const auto time = fs::file_time_type::clock::now() - std::chrono::hours(1);
  const std::string first = f.options().source + "/first.txt";
  const std::string second = f.options().source + "/second.txt";
  const auto write = [&](const std::string& name, char c) {
    f.write(name, text(c));
    fs::last_write_time(f.options().source + "/" + name, time);
  };
  const auto letter_of = [&](const std::string& source) {
    CorpusOptions o = f.options(false);
    o.source = source;
    return static_cast<char>(ByteCorpus(o).split(0)[0]);
  };
  write("first.txt", 'a');
  write("second.txt", 'b');
  EXPECT_EQ(letter_of(first), 'a');
  EXPECT_EQ(letter_of(second), 'b') << "equal size and time, other path";
  fs::rename(second, first);
  EXPECT_EQ(letter_of(first), 'b') << "equal path, size and time, other inode";
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // ctime steps by some milliseconds
  write("first.txt", 'c');
  EXPECT_EQ(letter_of(first), 'c') << "equal path, inode, size and time, other ctime";
}

// Two folders with the same layout, sizes and times share one cache folder but no shards.
TEST(Corpus, AnotherFolderOfEqualLayoutIsAnotherCorpus) {
  namespace fs = std::filesystem;
  const Folder f;
  const auto time = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (int p = 10; p < 34; ++p) {
    const std::string name = "project" + std::to_string(p) + "/a.py";
    f.write("one/" + name, source_text(p));
    f.write("two/" + name, source_text(p + 40));
    for (const char* root : {"/one/", "/two/"})
      fs::last_write_time(f.options().source + root + name, time);
  }
  CorpusOptions one = f.options(), two = f.options();
  one.source += "/one";
  two.source += "/two";
  const ByteCorpus a(one), b(two);
  EXPECT_NE(a.index().at("splits").at("train").at("sha256"),
            b.index().at("splits").at("train").at("sha256"));
  // The same folder named in another way is the same corpus: no second copy of the shards.
  one.source += "/../one";
  EXPECT_EQ(ByteCorpus(one).index(), a.index());
  EXPECT_EQ(std::distance(fs::directory_iterator(one.cache), fs::directory_iterator()), 2);
}

TEST(Code, BatchesDependOnSeedAndStepOnlyAndTheTargetIsTheNextByte) {
  const Folder f;
  for (int p = 0; p < 24; ++p) f.write("project" + std::to_string(p) + "/a.py", source_text(p));
  setenv("SUBQUAD_DATA", f.options().cache.c_str(), 1);
  const auto make = [&](std::uint64_t seed) {
    return make_task("code",
                     {.seed = seed, .batch_size = 4, .data = f.options().source, .extra = {}});
  };
  const auto one = make(3), same = make(3), other = make(4);
  const Batch later = one->train_batch(7), first = one->train_batch(0);
  EXPECT_EQ(ids(later.inputs), ids(same->train_batch(7).inputs)) << "no state between steps";
  EXPECT_NE(ids(first.inputs), ids(later.inputs));
  EXPECT_NE(ids(later.inputs), ids(other->train_batch(7).inputs)) << "the seed chooses the order";
  for (const Split split : {Split::validation, Split::test}) {
    EXPECT_EQ(ids(one->eval_batch(split, 256, 0).inputs),
              ids(other->eval_batch(split, 256, 0).inputs))
        << "evaluation is the same for every seed";
  }
  const std::int64_t T = later.inputs.shape()[1];
  const auto inputs = ids(later.inputs), targets = ids(later.targets);
  for (std::size_t i = 0; i + 1 < inputs.size(); ++i) {
    if ((static_cast<std::int64_t>(i) + 1) % T == 0) continue;
    ASSERT_EQ(targets[i], inputs[i + 1]) << i;
  }
  // No document of one split lies in another.
  const ByteCorpus corpus(f.options());
  std::set<std::string> documents;
  std::size_t count = 0;
  for (int s = 0; s < 3; ++s) {
    std::istringstream text(std::string(corpus.split(s).begin(), corpus.split(s).end()));
    for (std::string d; std::getline(text, d, '\0'); ++count) documents.insert(d);
  }
  EXPECT_EQ(documents.size(), count);
  EXPECT_EQ(count, 24U);
}

TEST(Ngram, MatchesACountByHandAndBeatsUniform) {
  const std::string text = "abababacab";
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  const ByteNgram n(bytes);
  // Empty context: N = 10, D = 3 different bytes; N(a) = 5.
  const double p_a = (5 + 3 * (1.0 / 256)) / (10 + 3);
  EXPECT_NEAR(n.probability({}, 'a'), p_a, 1e-12);
  // Context "b": followed by a three times, by nothing else.
  const std::vector<std::uint8_t> b = {'b'};
  EXPECT_NEAR(n.probability(b, 'a'), (3 + 1 * p_a) / (3 + 1), 1e-12);
  double total = 0;
  for (int c = 0; c < 256; ++c) total += n.probability(b, static_cast<std::uint8_t>(c));
  EXPECT_NEAR(total, 1, 1e-9);
}

// The definition, by scanning the text for every context of every order.
double literal_ngram(const std::string& text, const std::string& context, char next) {
  double p = 1.0 / 256;
  for (std::size_t n = 0; n <= context.size() && n < 5; ++n) {
    const std::string h = context.substr(context.size() - n);
    double total = 0, hits = 0;
    std::set<char> different;
    for (std::size_t i = n; i < text.size(); ++i) {
      if (text.compare(i - n, n, h) != 0) continue;
      total += 1;
      hits += text[i] == next ? 1 : 0;
      different.insert(text[i]);
    }
    if (total == 0) break;
    const auto d = static_cast<double>(different.size());
    p = (hits + d * p) / (total + d);
  }
  return p;
}

TEST(Ngram, EqualsTheDefinitionAtEveryOrder) {
  std::string text;
  const Rng rng{9, 9};
  for (std::uint64_t i = 0; i < 600; ++i) text += static_cast<char>('a' + rng.below(3, 0, i));
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  const ByteNgram n(bytes);
  for (std::uint64_t i = 0; i < 300; ++i) {
    std::string context;  // up to six bytes, some never seen
    for (std::uint64_t k = 0; k < i % 7; ++k) {
      context += static_cast<char>('a' + rng.below(4, i + 1, k));
    }
    const std::vector<std::uint8_t> h(context.begin(), context.end());
    const std::string last =
        context.substr(context.size() - std::min<std::size_t>(4, context.size()));
    for (const char c : {'a', 'b', 'c', 'd', 'z'}) {
      EXPECT_NEAR(n.probability(h, static_cast<std::uint8_t>(c)), literal_ngram(text, last, c),
                  1e-12)
          << context << " then " << c;
    }
  }
}

}  // namespace
}  // namespace subquad
