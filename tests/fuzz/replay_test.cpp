// Every file of the corpus, through its target: seeds, and whatever once was a find. And each of
// them damaged in ways that need no fuzzer.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "tests/fuzz/targets.h"

namespace subquad::fuzz {
namespace {

namespace fs = std::filesystem;

const std::string kCorpus = std::string(SUBQUAD_SOURCE_DIR) + "/tests/fuzz/corpus/";

// Bytes of address space that the process has now.
std::uint64_t address_space() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

class Replay : public testing::TestWithParam<Target> {
 protected:
  // What takes too much fails here instead of taking the machine. Sanitizers map terabytes and have
  // bounds of their own.
  static void SetUpTestSuite() {
    constexpr std::uint64_t kSanitized = std::uint64_t{1} << 40, kMost = std::uint64_t{4} << 30;
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kMost);
    if (address_space() < kSanitized) ASSERT_EQ(::setrlimit(RLIMIT_AS, &limit), 0);
  }
  static std::vector<std::string> files() {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(kCorpus + GetParam().name))
      found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
};

TEST_P(Replay, TheCorpusPasses) {
  int accepted = 0, refused = 0;
  for (const std::string& path : files()) {
    SCOPED_TRACE(path);
    EXPECT_NO_THROW((GetParam().run(read_file(path)) ? accepted : refused) += 1);
  }
  // Seeds from which a fuzzer gets beyond the first check, and such that stop there.
  EXPECT_GE(accepted, 2);
  EXPECT_GE(refused, 1);
}

TEST_P(Replay, SoItDoesWhenDamaged) {
  for (const std::string& path : files()) {
    SCOPED_TRACE(path);
    const std::string good = read_file(path);
    if (good.empty()) continue;
    const Rng rng{5, stream_id(fs::path(path).filename().string())};
    const auto below = [&](std::size_t n, std::uint64_t draw, std::uint64_t k) {
      return static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(n), draw, k));
    };
    for (std::uint64_t k = 0; k < 12; ++k) {
      std::string bad = good;
      if (k % 3 == 0) bad.resize(below(good.size(), 0, k));
      for (std::uint64_t i = 0; i <= k % 4 && !bad.empty(); ++i)
        bad[below(bad.size(), 1 + i, k)] = "0129\"[]{},:\\ -%\n\xC4"[below(17, 10 + i, k)];
      EXPECT_NO_THROW(GetParam().run(bad)) << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(all_targets()),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace subquad::fuzz
