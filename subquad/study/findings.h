// What a study found, computed from its results alone: medians and solved seeds of every arm on
// every task, intervals, the bytes an arm needs to beat the n-gram, and the sentences that say so.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/statistics.h"

namespace subquad {

// What a task asks, and when a seed counts as solved.
struct Question {
  const char* task;
  const char* heading;  // short
  const char* words;    // what it asks
  double solved;        // value at which a seed counts as solved; NaN: not a solved/unsolved task
  bool higher;          // is better
};
const Question* question_of(const std::string& task);  // null for an unknown task
bool lower_is_better(const std::string& primary);
// A value of a task's primary metric as a number of which more is better: for the stop ratio
// stopping too late (2 = never) is as wrong as too early. `task`: its entry in results.json.
double goodness(const Json& task, double value);

// Primary metric of one arm on one task: values by seed.
struct Cell {
  std::vector<double> values;
  int solved = 0;  // seeds at or above the task's "solved" level
  int seeds = 0;   // finished or failed: a failed run solved nothing
};
Cell cell(const Json& results, const std::string& task, const std::string& arm);

std::vector<std::string> arms_of(const Json& results);
std::vector<std::string> tasks_of(const Json& results);
void for_runs(const Json& results, const std::string& task, const std::string& arm,
              const std::function<void(const Json&)>& fn);
const Json* metric(const Json& run, const std::string& name, std::int64_t length,
                   const char* split = "test");

// Least share of scored positions at which one position at a time gives the arg-max of the chunked
// pass, over seeds and lengths; NaN where it was not compared (the n-gram, recurrent = false).
double least_agreement(const Json& results, const std::string& task, const std::string& arm);
// How many of a plan's seeds a task runs with.
std::int64_t seeds_of(const Json& plan, const std::string& task);
// "one recipe, untuned" or what the study did instead.
std::string tuning_words(const Json& results);
// Seeds of which every planned run is finished.
int finished_seeds(const Json& results);
// "3 seeds, one recipe, untuned: indicative, not a claim". Three seeds or fewer are never more than
// indicative, whatever the plan's level: no exact paired test can reach 5 % with them.
std::string standing(const Json& results);

// Training bytes after which an arm's validation bits per byte stay below those of the n-gram for
// the first time, linear between measurements; one value per seed, NaN: never within the budget.
// Empty without a validation curve or an n-gram.
std::vector<double> bytes_to_cross(const Json& results, const std::string& task,
                                   const std::string& arm);
// Validation bits per byte of the n-gram; NaN if there is none.
double ngram_bits(const Json& results, const std::string& task);

// The numbers behind table and sentences, for results.json.
Json findings(const Json& results);

// "mlstm 0.63, xlstm[1:1] 0.60; mlstm is ahead of xlstm[1:1] by 0.03 [-0.01, 0.07] (6 pairs, ...):
// undecided; ...": medians, solved seeds and the task's comparisons.
std::string verdict(const Json& results, const std::string& task);
// "2 of 3 seeds [0.21, 0.94]": Wilson 95 % interval of the solved share.
std::string solved_words(const Cell& cell);
// "parity: tail accuracy of 0.99 or more; anbn: ...", when a seed counts as solved; empty: no task
// of the study is solved or not.
std::string solved_note(const Json& results);
std::string crossing_sentence(const Json& results, const std::string& task);  // empty: no n-gram
std::string cost_sentence(const Json& results, const Json& timings);

std::string words_of(std::string metric);  // "tail_accuracy" as "tail accuracy"
std::string show_value(const std::string& task, const Cell& cell);
inline constexpr const char* kDecodeColumns[] = {"decode_us_64", "decode_us_1024",
                                                 "decode_us_16384", "decode_us_65536"};
// Of the quiet phase; NaN if it was not measured.
double speed(const Json& timings, const std::string& arm, const std::string& key);
bool speed_disturbed(const Json& timings);
// The same as text, with a leading "~" if the machine was never quiet; "-" if it was not measured.
std::string speed_text(const Json& timings, const std::string& arm, const std::string& key,
                       double factor = 1);
// The task whose models the quiet phase measured; the last one of the study if it did not run.
std::string cost_task(const Json& results, const Json& timings);
// Median of a worker's own figure over the arm's runs, NaN if unknown.
double median_timing(const Json& results, const Json& timings, const std::string& arm,
                     const char* key);
std::string state_text(const Json& results, const std::string& arm);

}  // namespace subquad
