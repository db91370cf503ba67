// Runs workloads of `subquad bench` (bench_workloads.h, bench_models.h) and says how far from the
// machine's limits they are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "subquad/backend/kernel_table.h"
#include "subquad/io/json.h"
#include "subquad/tensor/packed.h"

namespace subquad {

struct BenchOptions {
  std::string name;    // exactly this workload, if not empty
  std::string filter;  // otherwise those whose name contains this
  double seconds = 1;  // per workload, after two unmeasured repetitions
  int threads = 1;
  Precision precision = Precision::f32;  // of products with weights
  Packing weights = Packing::f32;        // how prefill and decode workloads store them
  bool profile = false;                  // time by op; of workloads that run through a kernel table
};

struct BenchResult {
  std::string name, variant;
  Precision precision = Precision::f32;
  Packing weights = Packing::f32;
  int threads = 1;
  double median_s = 0, min_s = 0;  // wall time of one repetition
  double total_s = 0;              // of all repetitions
  std::int64_t reps = 0;
  std::int64_t tokens = 0;  // per repetition
  std::int64_t parameters = 0;
  double useful_flop = 0;     // per repetition; causal half of the pairs, two per multiply-add
  double useful_bytes = 0;    // per repetition, from memory; 0 where arithmetic is the limit
  double peak_flops = 0;      // FMA peak of one thread, measured just before and after
  double gemm_flops = 0;      // of one thread, measured in this process
  double peak_bandwidth = 0;  // bytes per second on these threads, measured if useful_bytes
  double foreign_load = 0;    // processor cores used by others meanwhile
  std::int64_t peak_rss_bytes = 0;
  OpProfile profile;  // of all repetitions, if asked for

  double fraction_of_peak() const { return useful_flop / min_s / (peak_flops * threads); }
  double fraction_of_bandwidth() const {
    return peak_bandwidth > 0 ? useful_bytes / min_s / peak_bandwidth : 0;
  }
  Json json() const;
};

std::vector<std::string> bench_names();

// What one repetition did that does not depend on time: the same on every run.
struct WorkCounts {
  std::int64_t macs = 0;          // multiply-adds, see ThreadPool::macs()
  std::int64_t regions = 0;       // parallel ones
  std::int64_t packed_bytes = 0;  // copied into the layouts of dense products
  std::int64_t allocations = 0;   // of storage, from the system

  WorkCounts minus(const WorkCounts& other, std::int64_t repetitions) const;
  Json json() const;
};

// Runs options.name once and then so many times inside counted_repetition(), and measures no time:
// for instruction counters that can be told a function. Returns the counts of one repetition.
WorkCounts repeat_workload(const BenchOptions& options, std::int64_t repetitions);

// `each` (may be empty) gets every result as soon as it is there.
// Errors: invalid_argument if `name` is unknown (names the nearest known one), or if nothing
// matches.
std::vector<BenchResult> run_bench(const BenchOptions& options,
                                   const std::function<void(const BenchResult&)>& each = {});

// One line per result: time, tokens per second, GFLOP/s, fraction of the peak.
std::string bench_header();
std::string bench_line(const BenchResult& result);
// Lines of op, share of the time, microseconds per repetition, calls; what runs outside the table
// last.
std::string profile_lines(const BenchResult& result);

}  // namespace subquad
