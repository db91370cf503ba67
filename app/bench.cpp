#include <cstdio>

#include "app/bench_run.h"
#include "app/commands.h"
#include "app/options.h"
#include "subquad/backend/instructions.h"

namespace subquad::app {
namespace {

void print_results(const BenchOptions& bench, bool json) {
  bool first = true;
  run_bench(bench, [&](const BenchResult& r) {
    if (first && !json) {
      std::printf("multiply-add peak of one thread: %.1f GFLOP/s (f32)\n%s", r.peak_flops * 1e-9,
                  bench_header().c_str());
    }
    first = false;
    std::printf("%s", json ? (r.json().dump() + "\n").c_str() : bench_line(r).c_str());
    if (!json && !r.profile.ops.empty()) std::printf("%s", profile_lines(r).c_str());
    std::fflush(stdout);
  });
  if (!json)
    std::printf(
        "peak, bandw.: share of this machine's peak and read bandwidth; foreign: cores that other "
        "programs kept busy\nmeanwhile; ! = more than 0.1, so measure again when the machine is "
        "quiet\n");
}

}  // namespace

int bench(Arguments arguments) {
  BenchOptions bench;
  bench.filter = "core/";
  std::int64_t threads = 1, repetitions = 0;
  bool json = false, list = false;
  std::string dtype = "f32", weights = "f32", instructions = instruction_sets().back();
  Options options(
      "bench",
      "Speed of mixer cores, whole mixers, training steps, prefill and decoding, and the "
      "fraction they reach of what this machine can do, measured in the same run. Without --name "
      "and --filter the cores; --filter \"\" is all.",
      "subquad bench --filter core/mlstm/ --seconds 2");
  options.option("--name", bench.name, "one workload; prints one JSON line")
      .option("--filter", bench.filter, "all workloads whose name contains this; \"\" for all")
      .option("--seconds", bench.seconds, "measured time of each", {0, 86400})
      .option("--threads", threads, "number of threads", kThreads)
      .option("--dtype", dtype,
              "f32, or bf16 (also bf16-autocast): products with weights round their factors, "
              "decode/ stores its weights so; q8_0, q4_k_m: as --weights int8, int4")
      .option("--weights", weights,
              "of prefill and decode: stored as f32, bf16, int8 or int4; sums are f32")
      .option("--instructions", instructions, "sse4, avx2 or avx512, if the processor has it")
      .flag("--json", json, "JSON lines instead of a table")
      .flag("--profile", bench.profile, "time by op below every workload that runs a whole layer")
      .option(
          "--repetitions", repetitions,
          "run --name so many times in counted_repetition(), measure no time and print what one "
          "repetition did: multiply-adds, fork-joins, bytes packed, allocations",
          {0, 1000000})
      .flag("--list", list, "print the names and stop");
  if (!options.parse(arguments)) return 0;
  if (list) {
    for (const std::string& name : bench_names()) std::printf("%s\n", name.c_str());
    return 0;
  }
  use_instruction_set(instructions);
  bench.threads = static_cast<int>(threads);
  // The names that llama.cpp gives to weights of about as many bits.
  if (dtype == "q8_0") weights = "int8", dtype = "f32";
  if (dtype == "q4_k_m") weights = "int4", dtype = "f32";
  bench.precision = precision_named(dtype == "bf16-autocast" ? "bf16" : dtype);
  bench.weights = packing_named(weights);
  if (!bench.name.empty()) {
    json = true;
    bench.filter.clear();
  }
  if (repetitions != 0) {
    require(!bench.name.empty(), ErrorCode::invalid_argument,
            "--repetitions needs the --name of one workload");
    std::printf("%s\n", repeat_workload(bench, repetitions).json().dump().c_str());
    return 0;
  }
  print_results(bench, json);
  return 0;
}

}  // namespace subquad::app
