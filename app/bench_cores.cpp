#include "app/bench_cores.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "app/bench_workloads.h"
#include "subquad/backend/fma_peak.h"
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

struct CoreName {
  std::string mixer;
  bool backward;
  const BenchShape* shape;
  std::string text() const {
    return "core/" + mixer + (backward ? "/fwdbwd/" : "/fwd/") + shape->name;
  }
};

std::vector<CoreName> all_names() {
  std::vector<CoreName> names;
  for (const BenchShape& shape : bench_shapes()) {
    for (const char* mixer : {"mlstm", "slstm", "ssd", "gdn", "attention"}) {
      for (bool backward : {false, true}) names.push_back({mixer, backward, &shape});
    }
  }
  return names;
}

Workload make_workload(const CoreName& n, const KernelTable& kernels, ThreadPool& threads) {
  if (n.mixer == "slstm") return slstm_workload(*n.shape, n.backward, kernels, threads);
  if (n.mixer == "attention") return attention_workload(*n.shape, n.backward, kernels, threads);
  return linear_workload(n.mixer, *n.shape, n.backward, kernels, threads);
}

BenchResult measure(const CoreName& name, const Workload& work, const BenchOptions& options) {
  BenchResult r;
  r.name = name.text();
  r.variant = work.variant;
  r.threads = options.threads;
  r.tokens = name.shape->B * name.shape->T;
  r.useful_flop = work.useful_flop;
  r.peak_flops = measure_fma_peak();
  for (int i = 0; i < 2; ++i) work.run();
  std::vector<double> times;
  const auto start = Clock::now();
  const double own = own_cpu_seconds(), machine = machine_cpu_seconds();
  while (times.size() < 3 || seconds_since(start) < options.seconds) {
    const auto begin = Clock::now();
    work.run();
    times.push_back(seconds_since(begin));
  }
  const double wall = seconds_since(start);
  const double foreign = (machine_cpu_seconds() - machine) - (own_cpu_seconds() - own);
  r.foreign_load = std::max(0.0, foreign / wall);
  r.peak_flops = std::max(r.peak_flops, measure_fma_peak());
  std::sort(times.begin(), times.end());
  r.min_s = times.front();
  r.median_s = times[times.size() / 2];
  r.reps = static_cast<std::int64_t>(times.size());
  r.peak_rss_bytes = peak_rss_bytes();
  return r;
}

}  // namespace

std::vector<std::string> core_bench_names() {
  std::vector<std::string> names;
  for (const CoreName& n : all_names()) names.push_back(n.text());
  return names;
}

std::vector<BenchResult> run_core_bench(const BenchOptions& options,
                                        const std::function<void(const BenchResult&)>& each) {
  const auto known = core_bench_names();
  require(options.threads >= 1 && options.seconds >= 0, ErrorCode::invalid_argument, "bench with ",
          options.threads, " threads for ", options.seconds, " s, wanted at least 1 and 0");
  if (!options.name.empty() && std::count(known.begin(), known.end(), options.name) == 0) {
    const std::string near = nearest_key(options.name, known);
    fail(ErrorCode::invalid_argument, "no workload is named \"", options.name, "\"",
         near.empty() ? "; bench --list prints all" : "; did you mean \"" + near + "\"?");
  }
  const KernelTable kernels = all_kernels();
  ThreadPool threads(options.threads);
  std::vector<BenchResult> results;
  for (const CoreName& n : all_names()) {
    if (!options.name.empty() && n.text() != options.name) continue;
    if (n.text().find(options.filter) == std::string::npos) continue;
    const Workload work = make_workload(n, kernels, threads);
    if (!work.run) continue;
    results.push_back(measure(n, work, options));
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
                      {"dtype", "f32"},
                      {"threads", threads},
                      {"median_s", median_s},
                      {"min_s", min_s},
                      {"reps", reps},
                      {"tokens", tokens},
                      {"peak_rss_bytes", peak_rss_bytes},
                      {"useful_flop", useful_flop},
                      {"peak_flops", peak_flops},
                      {"fraction_of_peak", fraction_of_peak()},
                      {"foreign_load", foreign_load}};
}

std::string bench_header() {
  return fmt::format("{:<36} {:>10} {:>10} {:>9} {:>8} {:>6} {:>8}  {}\n", "workload", "min ms",
                     "median", "ktok/s", "GFLOP/s", "peak", "foreign", "kernel");
}

std::string bench_line(const BenchResult& r) {
  return fmt::format("{:<36} {:>10.3f} {:>10.3f} {:>9.1f} {:>8.1f} {:>5.1f}% {:>8.2f}  {}\n",
                     r.name, r.min_s * 1e3, r.median_s * 1e3,
                     static_cast<double>(r.tokens) / r.min_s * 1e-3, r.useful_flop / r.min_s * 1e-9,
                     r.fraction_of_peak() * 100, r.foreign_load, r.variant);
}

}  // namespace subquad
