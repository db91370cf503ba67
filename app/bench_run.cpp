#include "app/bench_run.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "app/bench_models.h"
#include "subquad/backend/machine_peaks.h"
#include "subquad/model/engine.h"

namespace subquad {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double own_cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

// Busy processor seconds of the whole machine; 0 where /proc/stat does not exist.
double machine_cpu_seconds() {
  std::ifstream stat("/proc/stat");
  std::string word;
  double user = 0, nice = 0, system = 0;
  stat >> word >> user >> nice >> system;
  return (user + nice + system) / 100;  // in 1/100 s
}

std::int64_t peak_rss_bytes() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  return static_cast<std::int64_t>(u.ru_maxrss) * 1024;
}

// A token reads every weight once: in bf16, it reads them in bf16.
Packing weights_of(const std::string& name, const BenchOptions& options) {
  const bool bf16 = options.precision == Precision::bf16 && options.weights == Packing::f32;
  return bf16 && name.starts_with("decode/") ? Packing::bf16 : options.weights;
}

Workload make_workload(const std::string& name, const BenchOptions& options) {
  require(options.weights == Packing::f32 || name.starts_with("prefill/") ||
              name.starts_with("decode/"),
          ErrorCode::invalid_argument, "--weights ", name_of(options.weights), " for ", name,
          ", wanted a workload that only reads its weights: prefill/ or decode/");
  if (!name.starts_with("core/") && !name.starts_with("step/"))
    return model_workload(name, {options.threads, options.precision, weights_of(name, options)});
  require(options.precision == Precision::f32, ErrorCode::invalid_argument, name,
          " has no products with weights, so no other precision than f32; leave out --dtype");
  return core_workload(name, options.threads);
}

BenchResult measure(const std::string& name, const Workload& work, const BenchOptions& options) {
  BenchResult r;
  r.name = name;
  r.variant = work.variant;
  r.threads = options.threads;
  r.precision = options.precision;
  r.weights = weights_of(name, options);
  r.tokens = work.tokens;
  r.parameters = work.parameters;
  r.useful_flop = work.useful_flop;
  r.useful_bytes = work.useful_bytes;
  r.peak_flops = measure_fma_peak();
  for (int i = 0; i < 2; ++i) work.run();
  if (options.profile) work.engine->kernels.profile_into(&r.profile);
  std::vector<double> times;
  const auto start = Clock::now();
  const double own = own_cpu_seconds(), machine = machine_cpu_seconds();
  while (times.size() < 3 || seconds_since(start) < options.seconds) {
    const auto begin = Clock::now();
    work.run();
    times.push_back(seconds_since(begin));
  }
  const double wall = seconds_since(start);
  work.engine->kernels.profile_into(nullptr);
  for (const double t : times) r.total_s += t;
  const double foreign = (machine_cpu_seconds() - machine) - (own_cpu_seconds() - own);
  r.foreign_load = std::max(0.0, foreign / wall);
  r.peak_flops = std::max(r.peak_flops, measure_fma_peak());
  std::sort(times.begin(), times.end());
  r.min_s = times.front();
  r.median_s = times[times.size() / 2];
  r.reps = static_cast<std::int64_t>(times.size());
  r.peak_rss_bytes = peak_rss_bytes();
  r.gemm_flops = measure_gemm_peak();
  if (r.useful_bytes > 0) {
    ThreadPool threads(options.threads);
    r.peak_bandwidth = measure_read_bandwidth(threads);
  }
  return r;
}

}  // namespace

std::vector<std::string> bench_names() {
  std::vector<std::string> names = core_bench_names();
  for (std::string& name : model_bench_names()) names.push_back(std::move(name));
  return names;
}

namespace {

void require_known(const std::string& name) {
  const auto known = bench_names();
  if (std::count(known.begin(), known.end(), name) > 0) return;
  const std::string near = nearest_key(name, known);
  fail(ErrorCode::invalid_argument, "no workload is named \"", name, "\"",
       near.empty() ? "; bench --list prints all" : "; did you mean \"" + near + "\"?");
}

WorkCounts counts_of(const Engine& e) {
  return {e.threads.macs(), e.threads.regions(), e.threads.packed_bytes(), e.storage.allocations()};
}

}  // namespace

WorkCounts WorkCounts::minus(const WorkCounts& other, std::int64_t repetitions) const {
  const std::int64_t n = std::max<std::int64_t>(repetitions, 1);
  return {(macs - other.macs) / n, (regions - other.regions) / n,
          (packed_bytes - other.packed_bytes) / n, (allocations - other.allocations) / n};
}

Json WorkCounts::json() const {
  return Json::Object{{"macs", macs},
                      {"fork_joins", regions},
                      {"packed_bytes", packed_bytes},
                      {"allocations", allocations}};
}

[[gnu::noinline]] void counted_repetition(const Workload& work) { work.run(); }

WorkCounts repeat_workload(const BenchOptions& options, std::int64_t repetitions) {
  require_known(options.name);
  const Workload work = make_workload(options.name, options);
  work.run();
  const WorkCounts before = counts_of(*work.engine);
  for (std::int64_t i = 0; i < repetitions; ++i) counted_repetition(work);
  return counts_of(*work.engine).minus(before, repetitions);
}

std::vector<BenchResult> run_bench(const BenchOptions& options,
                                   const std::function<void(const BenchResult&)>& each) {
  const auto known = bench_names();
  require(options.threads >= 1 && options.seconds >= 0, ErrorCode::invalid_argument, "bench with ",
          options.threads, " threads for ", options.seconds, " s, wanted at least 1 and 0");
  if (!options.name.empty()) require_known(options.name);
  std::vector<BenchResult> results;
  for (const std::string& name : known) {
    if (!options.name.empty() && name != options.name) continue;
    if (name.find(options.filter) == std::string::npos) continue;
    results.push_back(measure(name, make_workload(name, options), options));
    if (each) each(results.back());
  }
  require(!results.empty(), ErrorCode::invalid_argument, "no workload matches \"", options.filter,
          "\" (bench --list prints all)");
  return results;
}

Json BenchResult::json() const {
  return Json::Object{{"name", name},
                      {"peer", "subquad"},
                      {"variant", variant},
                      {"dtype", precision == Precision::bf16 ? "bf16" : "f32"},
                      {"weights", std::string(name_of(weights))},
                      {"threads", threads},
                      {"median_s", median_s},
                      {"min_s", min_s},
                      {"reps", reps},
                      {"tokens", tokens},
                      {"peak_rss_bytes", peak_rss_bytes},
                      {"parameters", parameters},
                      {"useful_flop", useful_flop},
                      {"peak_flops", peak_flops},
                      {"gemm_flops", gemm_flops},
                      {"fraction_of_peak", fraction_of_peak()},
                      {"useful_bytes", useful_bytes},
                      {"peak_bandwidth", peak_bandwidth},
                      {"fraction_of_bandwidth", fraction_of_bandwidth()},
                      {"foreign_load", foreign_load}};
}

std::string bench_header() {
  return fmt::format("{:<36} {:>10} {:>10} {:>9} {:>8} {:>6} {:>6} {:>8}  {}\n", "workload",
                     "min ms", "median", "ktok/s", "GFLOP/s", "peak", "bandw.", "foreign",
                     "kernel");
}

std::string bench_line(const BenchResult& r) {
  const std::string bandwidth =
      r.useful_bytes > 0 ? fmt::format("{:.1f}%", r.fraction_of_bandwidth() * 100) : "-";
  return fmt::format("{:<36} {:>10.3f} {:>10.3f} {:>9.2f} {:>8.1f} {:>5.1f}% {:>6} {:>8.2f}{} {}\n",
                     r.name, r.min_s * 1e3, r.median_s * 1e3,
                     static_cast<double>(r.tokens) / r.min_s * 1e-3, r.useful_flop / r.min_s * 1e-9,
                     r.fraction_of_peak() * 100, bandwidth, r.foreign_load,
                     r.foreign_load > 0.1 ? "!" : " ", r.variant);
}

std::string profile_lines(const BenchResult& r) {
  std::vector<std::pair<std::string_view, OpProfile::Entry>> ops(r.profile.ops.begin(),
                                                                 r.profile.ops.end());
  std::sort(ops.begin(), ops.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double rest = r.total_s;
  for (const auto& [name, entry] : ops) rest -= entry.seconds;
  // Ops that run at the same time add up to more than the whole.
  ops.push_back({"(outside the table)", {std::max(rest, 0.0), r.reps}});
  std::string lines;
  const auto reps = static_cast<double>(r.reps);
  for (const auto& [name, entry] : ops) {
    lines += fmt::format("  {:<28} {:>6.1f}% {:>10.1f} us {:>6.0f} calls\n", name,
                         entry.seconds / r.total_s * 100, entry.seconds / reps * 1e6,
                         static_cast<double>(entry.calls) / reps);
  }
  return lines;
}

}  // namespace subquad
