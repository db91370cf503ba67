// Guards against slower kernels that need no stable clock: instructions per repetition on the AVX2
// path (valgrind hides wider vectors), and the named inner loops of the AVX-512 path must not keep
// vectors on the stack.
#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <sstream>

#include "subquad/io/json.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

// Millions of instructions of one repetition.
double instructions(const std::string& name) {
  const Outcome o = run_line(
      "valgrind --tool=callgrind --callgrind-out-file=/dev/null "
      "--toggle-collect='subquad::counted_repetition*' " +
      quoted(SUBQUAD_PROGRAM) + " bench --name '" + name + "' --repetitions 1 2>&1");
  std::smatch m;
  EXPECT_TRUE(std::regex_search(o.text, m, std::regex("Collected : (\\d+)"))) << o.text;
  return m.empty() ? 0 : std::strtod(m[1].str().c_str(), nullptr) * 1e-6;
}

std::string test_name(std::string workload) {
  for (char& c : workload) c = std::isalnum(c) ? c : '_';
  return workload;
}

struct Budget {
  const char* workload;
  double millions;  // instructions per repetition when this was recorded
};

class FullInstructions : public testing::TestWithParam<Budget> {};

// Above, somebody made it slower. Far below, somebody made it faster and the budget is stale.
TEST_P(FullInstructions, StayWithinTenPercentOfTheBudget) {
  const Budget b = GetParam();
  const double now = instructions(b.workload);
  EXPECT_LE(now, 1.10 * b.millions) << b.workload << " takes more than it did";
  EXPECT_GE(now, 0.80 * b.millions) << b.workload << " takes less: lower its budget to " << now;
}

INSTANTIATE_TEST_SUITE_P(Guard, FullInstructions,
                         testing::Values(Budget{"core/mlstm/fwdbwd/b32t128h4d16", 29.4},
                                         Budget{"core/ssd/fwdbwd/b32t128h4d16", 21.4},
                                         Budget{"core/gdn/fwdbwd/b32t128h4d16", 37.9},
                                         Budget{"core/slstm/fwdbwd/b32t128h4d16", 34.6},
                                         Budget{"core/attention/fwdbwd/b32t128h4d16", 61.7},
                                         Budget{"study/xlstm[1:1]/parity", 95.3},
                                         Budget{"decode/mlstm/d64/b1", 11.5}),
                         [](const auto& info) { return test_name(info.param.workload); });

// What a repetition does on the processor's widest path, counted by the program itself. Recorded with
// AVX-512; narrower vectors pad less and count a few percent less.
struct Work {
  const char* workload;
  std::int64_t macs, fork_joins, packed_bytes;  // when this was recorded
};

class FullWork : public testing::TestWithParam<Work> {};

TEST_P(FullWork, StaysWithinTenPercentOfTheBudget) {
  const Work budget = GetParam();
  const Outcome o =
      run_line(quoted(SUBQUAD_PROGRAM) + " bench --repetitions 1 --name '" + budget.workload + "'");
  ASSERT_EQ(o.code, 0) << o.text;
  const Json now = Json::parse(o.text, "counts");
  const auto within = [&](const char* key, std::int64_t recorded) {
    const std::int64_t count = now.at(key).as_int();
    EXPECT_LE(count, recorded + recorded / 10) << budget.workload << ": " << key << " grew";
    EXPECT_GE(count, recorded - recorded / 5)
        << budget.workload << ": " << key << " fell: lower its budget";
  };
  within("macs", budget.macs);
  within("fork_joins", budget.fork_joins);
  within("packed_bytes", budget.packed_bytes);
  EXPECT_EQ(now.at("allocations").as_int(), 0) << budget.workload;
}

INSTANTIATE_TEST_SUITE_P(
    Guard, FullWork,
    testing::Values(Work{"train/mlstm/d256b8t512", 85689630720, 204, 1457242112},
                    Work{"train/mlstm/d64b64t128", 5511315456, 5, 100204544},
                    Work{"study/xlstm[1:1]/parity", 262275072, 57, 4461056},
                    Work{"study/mamba2/code", 328204288, 77, 5122048},
                    Work{"study/gated_deltanet/mqar", 280363008, 78, 4558336},
                    Work{"study/attention/code", 436207616, 59, 5795840},
                    Work{"core/mlstm/fwdbwd/b8t512h4d64", 171966464, 2, 0},
                    Work{"core/gdn/fwdbwd/b8t512h4d64", 276299776, 2, 0},
                    Work{"core/attention/fwdbwd/b8t512h4d64", 1920991232, 2, 0},
                    Work{"decode/mlstm/d64/b1", 3612672, 128, 0},
                    Work{"prefill/gdn/d64/b1p512", 146886656, 56, 942080}),
    [](const auto& info) { return test_name(info.param.workload); });

// A spill shows as a vector moved to or from the stack.
TEST(Guard, FullInnerLoopsKeepTheirAccumulatorsInRegisters) {
  const Outcome o = run_line("objdump -d -C --no-show-raw-insn " + quoted(SUBQUAD_PROGRAM));
  const std::regex head("^[0-9a-f]+ <(.*)>:$");
  // Dense tiles, the small products of the chunks, attention and sLSTM products.
  const std::regex wanted(
      "subquad::N_AVX(2|3)::(pg::tile<|attention::run_tile<|slstm_product::run_panel<|run_tile<)");
  const std::regex spill("vmov[au]p[sd] .*\\(%rsp");
  std::istringstream lines(o.text);
  std::string line, name;
  bool inside = false;
  int functions = 0, avx3 = 0;
  std::string spilled;
  while (std::getline(lines, line)) {
    if (!line.empty() && line.back() == ':' && line.find('<') != std::string::npos) {
      std::smatch m;
      name = std::regex_match(line, m, head) ? m[1].str() : "";
      inside = std::regex_search(name, wanted);
      functions += inside;
      avx3 += inside && name.find("N_AVX3") != std::string::npos;
      continue;
    }
    if (inside && line.find("vmov") != std::string::npos && std::regex_search(line, spill)) {
      spilled += name + ": " + line + "\n";
      inside = false;  // one line of each is enough
    }
  }
  EXPECT_GT(functions, 20);
  EXPECT_GT(avx3, 10);
  EXPECT_EQ(spilled, "");
}

}  // namespace
}  // namespace subquad
