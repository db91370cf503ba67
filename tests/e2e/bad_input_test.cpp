// Bad input gives one clear message and the right exit code: 2 for usage, 1 for failure.
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "tests/e2e/program.h"

namespace subquad {
namespace {

const char* kPlan =
    "name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\nseeds = 1\nmeasure = "
    "false\n[model]\nd_model = 32\nheads = 2\n[task.parity]\ntokens = 4096\n";

TEST(BadInput, CommandsAndOptions) {
  expect(run_program(""), 2, {"usage"});
  expect(run_program("compair"), 2, {"did you mean \"compare\""});
  expect(run_program("train --tokenz 5"), 2, {"--tokenz", "did you mean --tokens"});
  expect(run_program("train --arm mlstn --out /tmp/x"), 2, {"mlstn", "did you mean \"mlstm\""});
  expect(run_program("train --task parti --out /tmp/x"), 2, {"parti", "did you mean \"parity\""});
  expect(run_program("info --match parameter"), 2, {"did you mean \"parameters\""});
  expect(run_program("info --arms 'mlstm,mamba2[-1,1],xlstm[1:1]'"), 0,
         {"mamba2[-1,1]", "xlstm[1:1]"});
  expect(run_program("compare --budget soon"), 2, {"soon", "20m"});
  expect(run_program("verify --mixer mamba3"), 2, {"mamba3"});
  const Outcome ngram = run_program("info --arms ngram");
  expect(ngram, 2, {"ngram is counted"});
  EXPECT_EQ(ngram.text.find("did you mean"), std::string::npos) << ngram.text;
  expect(run_program("train --arm ngram --task parity --out /tmp/subquad-ngram"), 2, {"bytes"});
  EXPECT_FALSE(std::filesystem::exists("/tmp/subquad-ngram"));
}

TEST(BadInput, NumbersOutsideTheirRange) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"train --tokens -5", {"--tokens", "got -5", "wanted 0 to"}},
      {"train --learning-rate -1", {"--learning-rate", "got -1", "wanted 0 to 10"}},
      {"train --learning-rate nan", {"--learning-rate", "got nan", "wanted 0 to 10"}},
      {"train --seed -1", {"--seed", "got -1", "wanted 0 to"}},
      {"train --heads 0", {"--heads", "got 0", "wanted 1 to"}},
      {"info --parameters -7", {"--parameters", "got -7", "wanted 0 to"}},
      {"info --d-model -64", {"--d-model", "got -64", "wanted 1 to"}},
      {"tasks show parity --count -1", {"--count", "got -1", "wanted 1 to"}},
      {"generate x 0 --top-k -3", {"--top-k", "got -3", "wanted 0 to"}},
      {"generate x 0 --tokens -3", {"--tokens", "got -3", "wanted 0 to"}},
      {"generate x 0 --top-p 1.5", {"--top-p", "got 1.5", "to 1"}},
      {"evaluate x --threads 0", {"--threads", "got 0", "wanted 1 to 1024"}},
      {"evaluate x --lengths -5", {"--lengths", "-5", "wanted 1 to"}},
      {"evaluate x --lengths 999999999", {"--lengths", "999999999", "wanted 1 to"}},
      {"bench --seconds -1", {"--seconds", "got -1", "wanted 0 to"}},
      {"compare --seeds -1", {"--seeds", "got -1", "wanted 0"}},
      {"compare --jobs 5000", {"--jobs", "got 5000", "wanted 0 to 1024"}}};
  for (const auto& [command, parts] : cases) expect(run_program(command), 2, parts);
}

TEST(BadInput, AMistakeLeavesNoRunFolderAndThreadsAreNoPartOfARun) {
  const Folder f("threads-0");
  const std::string run = f / "run",
                    train =
                        "train --arm mlstm --task parity --d-model 32 --heads 2 --tokens 2048 "
                        "--out " +
                        run + " --threads ";
  expect(run_program(train + "0"), 2, {"--threads", "got 0", "wanted 1 to 1024"});
  EXPECT_FALSE(std::filesystem::exists(run));
  expect(run_program(train + "1"), 0, {"run folder"});
  expect(run_program(train + "2"), 0, {"run folder"});
}

TEST(BadInput, DataThatNoTaskReads) {
  const Folder f("unread");
  const std::string smoke = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/studies/smoke.toml");
  expect(run_program("compare " + smoke + " --dry-run --data /nope --out " + (f / "r")), 2,
         {"/nope", "no task of this study reads any"});
  expect(run_program("train --task parity --data X --out " + (f / "r")), 2, {"X", "reads none"});
  expect(run_program("tasks show parity --data X"), 2, {"X", "reads none"});
  EXPECT_FALSE(std::filesystem::exists(f / "r"));
  write(f / "plan.toml", std::string(kPlan) + "data = \"x\"\n");
  expect(run_program("compare " + (f / "plan.toml")), 2, {":11:", "data", "reads no data"});
}

TEST(BadInput, TaskOptionsAreRefusedWhereTheyStand) {
  const Folder f("task-options");
  const std::pair<const char*, std::vector<std::string>> plans[] = {
      {"extra = { supervison = \"final\" }\n",
       {":11:", "extra.supervison", "did you mean \"supervision\""}},
      {"[task.parity.extra]\nsupervision = \"final\"\ntrain_length = 1\n",
       {":13:", "extra.train_length", "got 1", "wanted 16 to"}},
      {"extra = 3\n", {":11:", "extra", "wanted a table"}},
      {"lengths = [32, 4]\n", {":11:", "lengths", "at length 4", "wanted 8 to"}}};
  for (const auto& [line, parts] : plans) {
    write(f / "plan.toml", std::string(kPlan) + line);
    expect(run_program("compare " + (f / "plan.toml") + " --out " + (f / "r")), 2, parts);
  }
  const std::string train = "train --arm mlstm --d-model 32 --heads 2 --out " + (f / "r");
  expect(run_program(train + " --task s3 --task-options train_length=5"), 2,
         {"s3", "train_length", "got 5"});
  expect(run_program(train + " --task s3 --task-options final"), 2, {"final", "KEY=VALUE"});
  expect(run_program(train + " --task s3 --task-options curriculum=true,curriculum=false"), 2,
         {"curriculum", "given twice"});
  expect(run_program(train + " --task mqar --task-options pairs=99999999999999999999"), 2,
         {"pairs", "whole number"});
  expect(run_program(train + " --task tokens --task-options a=1"), 2, {"tokens", "no options"});
  EXPECT_FALSE(std::filesystem::exists(f / "r"));
  expect(run_program(train + " --task parity --tokens 4096 --task-options supervision=final"), 0,
         {"length  1024  accuracy"});
  expect(run_program("evaluate " + (f / "r") + " --lengths 4"), 2, {"at length 4", "wanted 8"});
  expect(run_program("evaluate " + (f / "r") + " --lengths 40"), 0, {"length     40  accuracy"});
}

// Every task of the list explains itself, with what its options change.
TEST(BadInput, EveryTaskThatReadsNoDataIsShown) {
  std::istringstream list(run_program("tasks").text);
  int shown = 0;
  for (std::string line; std::getline(list, line);) {
    const std::string name = line.substr(0, line.find(' '));
    if (name == "code" || name == "text" || name == "tokens" || name == "forecast") continue;
    expect(run_program("tasks show " + name + " --count 1"), 0,
           {name.c_str(), "sees", "scored", "source", "apart", "chance",
            "supervision = ", "sample 0", "input", "target"});
    ++shown;
  }
  EXPECT_EQ(shown, 19);
  expect(run_program("tasks show s5 --task-options elements=swaps,tokens_per_element=4"), 0,
         {"12 input ids, 120 classes", "elements = swaps", "01234"});
}

TEST(BadInput, APatternThatDoesNotFitIsNoOtherArm) {
  expect(run_program("info --arms 'gated_deltanet:attention[3:1],gated_deltanet'"), 2,
         {"gated_deltanet:attention[3:1]", "pattern of 4 blocks", "has 2", "multiple of 4"});
  expect(run_program("info --arms 'xlstm[7:1]'"), 2, {"pattern of 8 blocks"});
  expect(run_program("info --arms 'xlstm[7:1]' --blocks 8"), 0, {"xlstm[7:1]"});
  const std::string smoke = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/studies/smoke.toml");
  expect(run_program("compare " + smoke + " --dry-run --arms 'xlstm[3:1]'"), 2,
         {"pattern of 4 blocks"});
}

TEST(BadInput, GenerateSaysWhatIdsAreAndCountsWhatItMade) {
  const Folder f("generate");
  const std::string run = f / "run";
  ASSERT_EQ(
      run_program("train --arm mlstm --task anbn --d-model 32 --heads 2 --tokens 2048 --out " + run)
          .code,
      0);
  expect(run_program("generate " + run + " '0 1' --tokens 7"), 0,
         {"task anbn has no text", "class ids", "wrote 7 tokens, "});
  expect(run_program("generate " + run + " '0 1' --tokens 0"), 0, {"wrote 0 tokens,"});
  expect(run_program("generate " + run + " '0 -1'"), 2, {"-1", "wanted ids from 0"});
}

TEST(BadInput, TheChanceOfByteTasksIsInBits) {
  const Folder f("chance");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i * 7919 % 1000) + " of a file\n";
  write(f / "one.txt", text);
  expect(run_program("tasks show text --count 1 --data " + (f / "one.txt"),
                     "SUBQUAD_DATA=" + (f / "cache")),
         0, {"chance 8 bits per byte"});
  expect(run_program("tasks show parity --count 1"), 0, {"chance 0.500"});
}

TEST(BadInput, Plans) {
  const Folder f("plans");
  const std::pair<std::string, std::vector<std::string>> cases[] = {
      {"name = \"t\"\narmz = [\"mlstm\"]\ntasks = [\"parity\"]\n",
       {":2:", "armz", "did you mean \"arms\""}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\nseeds = \"three\"\n",
       {":4:", "seeds", "string"}},
      {"name = \"t\"\narms = \"mlstm\"\ntasks = [\"parity\"]\n", {":2:", "arms", "array"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[train]\nlearning_rat = 1\n",
       {"learning_rat", "learning_rate"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[model]\nd_model = 99999999999\n",
       {":5:", "d_model", "wanted 1 to"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[task.anbn]\ntokens = 5\n",
       {":4:", "anbn", "not in `tasks`"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[mixer.mlstm]\nconvv = 2\n",
       {"plan.toml:5:", "mixer.mlstm.convv", "did you mean \"conv\""}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[mixer.mlstm]\nconv = 4\n"
       "norm_eps = -1\n",
       {"plan.toml:6:", "norm_eps"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[mixer.slstm]\nconv = 4\n",
       {"plan.toml:4:", "mixer.slstm", "no arm of this study"}},
      {"name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n[model]\nstate_bytes = 4096\n",
       {":5:", "state_bytes", "match"}},
      {"name = \"t\"\narms = [\"slstm\", \"mlstm\"]\ntasks = [\"parity\"]\n[model]\nmatch = "
       "\"state\"\nstate_bytes = 65536\n",
       {"slstm", "nearest is 2048"}},
      {"name = \"t\"\narms = [\"mlstm\"\ntasks = 3\n", {"not valid TOML"}},
      {"name = \"t\"\narms = [\n]\n [%]\n", {"plan.toml:4:", "not valid TOML"}},
      {"name = \"t\"\narms = [\"mlstm\", \"mlstm\"]\ntasks = [\"parity\"]\n", {"listed twice"}},
      {"name = \"T x\"\narms = [\"mlstm\"]\ntasks = [\"parity\"]\n", {"name", "lower-case"}}};
  for (const auto& [text, parts] : cases) {
    write(f / "plan.toml", text);
    expect(run_program("compare " + (f / "plan.toml") + " --out " + (f / "runs")), 2, parts);
  }
  expect(run_program("compare " + (f / "none.toml")), 2, {"none.toml"});
}

TEST(BadInput, Data) {
  const Folder f("data");
  const std::string cache = "SUBQUAD_DATA=" + (f / "cache");
  expect(
      run_program("train --task code --arm mlstm --data " + (f / "missing") + " --out " + (f / "r"),
                  cache),
      1, {"missing", "--data"});
  std::filesystem::create_directories(f / "empty");
  expect(
      run_program("train --task code --arm mlstm --data " + (f / "empty") + " --out " + (f / "r"),
                  cache),
      2, {"no source files"});
  std::filesystem::create_directories(f / "tiny");
  write(f / "tiny/a.py", "x = 1\n");
  expect(run_program("train --task code --arm mlstm --data " + (f / "tiny") + " --out " + (f / "r"),
                     cache),
         2, {"split", "size outside"});
  write(f / "bad.txt", std::string("\xff\xfe\x00\x01", 4));
  expect(
      run_program("train --task text --arm mlstm --data " + (f / "bad.txt") + " --out " + (f / "r"),
                  cache),
      2, {"UTF-8"});
  // One file is enough for a text: it is cut by position.
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i * 7919 % 1000) + " of a file\n";
  write(f / "one.txt", text);
  const Outcome o =
      run_program("train --task text --arm mlstm --d-model 32 --heads 2 --tokens 4096 --data " +
                      (f / "one.txt") + " --out " + (f / "one"),
                  cache);
  EXPECT_EQ(o.code, 0) << o.text;
}

TEST(BadInput, DamagedCheckpointsAndWeights) {
  const Folder f("checkpoint");
  const std::string
      run = f / "run",
      train = "train --arm mlstm --task parity --d-model 32 --heads 2 --tokens 4096 --out " + run;
  ASSERT_EQ(run_program(train).code, 0);
  std::string checkpoint;
  for (const auto& e : std::filesystem::directory_iterator(run + "/checkpoints"))
    checkpoint = e.path();
  const std::string model = checkpoint + "/model.safetensors";
  const auto size = std::filesystem::file_size(model);
  // One flipped bit.
  {
    std::fstream file(model, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size / 2));
    file.put('\x5a');
  }
  const Outcome flipped = run_program("generate " + run + " '0 1'");
  expect(flipped, 1, {"set aside", "SHA-256", "no checkpoint in"});
  EXPECT_TRUE(std::filesystem::exists(checkpoint + ".corrupt-1"));
  // Without any checkpoint there is nothing to generate from.
  std::filesystem::remove_all(checkpoint + ".corrupt-1");
  expect(run_program("generate " + run + " '0 1'"), 1, {"no checkpoint yet"});
  expect(run_program("evaluate " + (f / "nowhere")), 1, {"is not a run"});
  expect(run_program("generate " + run + " ''"), 1, {"no checkpoint yet"});
}

TEST(BadInput, DamagedLedger) {
  const Folder f("ledger");
  write(f / "plan.toml", kPlan);
  const std::string compare =
      "compare " + (f / "plan.toml") + " --out " + (f / "runs") + " --jobs 1";
  ASSERT_EQ(run_program(compare).code, 0);
  std::string folder;
  for (const auto& e : std::filesystem::directory_iterator(f / "runs")) folder = e.path();
  const std::string ledger = folder + "/ledger.jsonl";
  std::ifstream in(ledger, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  // Cut short: reported, repaired, continued.
  write(ledger, good.substr(0, good.size() - 40));
  const Outcome cut = run_program(compare);
  expect(cut, 0, {"cut short"});
  // Edited in the middle: refused.
  std::string edited = good;
  edited[edited.find("\"tokens\"") + 10] ^= 1;
  write(ledger, edited);
  expect(run_program(compare), 1, {"ledger", "SHA-256"});
}

TEST(BadInput, UnwritableOutput) {
  if (geteuid() == 0) {
    expect(run_program("train --arm mlstm --task parity --tokens 4096 --out /proc/subquad"), 1,
           {"cannot create folder"});
    return;
  }
  const Folder f("readonly");
  std::filesystem::permissions(
      f.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  expect(run_program("train --arm mlstm --task parity --tokens 4096 --out " + (f / "r")), 1,
         {"cannot"});
}

TEST(BadInput, TokensFileNamesLineAndKey) {
  const Folder f("tokens");
  const std::string file = f / "t.jsonl";
  const std::string run =
      "train --task tokens --arm mlstm --d-model 32 --heads 2 --tokens 2000 --data " + file +
      " --out " + (f / "r");
  write(file, "{\"input\":[1,2],\"target\":[0]}\n");
  expect(run_program(run), 1, {"t.jsonl:1", "2 ids and target 1"});
  write(file, "{\"input\":[1,2],\"target\":[0,1]}\n{\"input\":[-4],\"target\":[0]}\n");
  expect(run_program(run), 1, {"t.jsonl:2", "-4"});
  write(file, "{\"inputs\":[1,2],\"target\":[0,1]}\n");
  expect(run_program(run), 1, {"t.jsonl:1", "inputs"});
  write(file, "not json\n");
  expect(run_program(run), 1, {"t.jsonl:1", "JSON"});
  std::string good;
  for (int i = 0; i < 200; ++i) {
    good += "{\"input\":[" + std::to_string(i % 7) + "," + std::to_string(i) + "],\"target\":[-1," +
            std::to_string(i % 7) + "]}\n";
  }
  write(file, good);
  const Outcome o = run_program(run);
  EXPECT_EQ(o.code, 0) << o.text;
}

TEST(BadInput, AWriteThatFailsLeavesNothingHalfWritten) {
  // A file-size limit stands in for a full disk: writes beyond it fail and nothing half-written is
  // left.
  const Folder f("full");
  const std::string run = f / "run";
  const Outcome o =
      run_program("train --arm mlstm --task parity --d-model 64 --tokens 4096 --out " + run,
                  "ulimit -f 64; trap '' XFSZ;");
  EXPECT_EQ(o.code, 75) << o.text;
  EXPECT_EQ(o.text.find("terminate"), std::string::npos) << o.text;
  if (std::filesystem::exists(run + "/checkpoints")) {
    for (const auto& e : std::filesystem::directory_iterator(run + "/checkpoints"))
      ADD_FAILURE() << "left behind: " << e.path();
  }
  const Outcome again =
      run_program("train --arm mlstm --task parity --d-model 64 --tokens 4096 --out " + run);
  EXPECT_EQ(again.code, 0) << again.text;
}

TEST(BadInput, AbsurdSizes) {
  expect(run_program("train --arm mlstm --task parity --d-model 4611686018427387904 --out "
                     "/tmp/subquad-absurd"),
         2, {"4611686018427387904"});
  expect(run_program("train --arm mlstm --task parity --d-model 65 --out /tmp/subquad-absurd"), 2,
         {"65", "equal parts"});
  expect(run_program("train --arm mlstm --task parity --blocks 100000 --out /tmp/subquad-absurd"),
         2, {"100000"});
  expect(run_program("evaluate x --lengths 12a"), 2, {"12a"});
}

}  // namespace
}  // namespace subquad
