// The report's sections, in the order of the page, as HTML without their heading.
#pragma once

#include <string>

#include "subquad/study/report/html.h"

namespace subquad::report {

// A card per question: answer, interval, every seed; the long form is folded.
std::string short_section(const View& view);
// Arms by tasks and costs: medians.
std::string overview_section(const View& view);
// The checks of audit.json with their numbers; how to make them if there is none.
std::string audit_section(const View& view);
// Arms in words and as stacks, sizes, what their configurations differ in.
std::string compared_section(const View& view);
// What was promised, what ran: plan, frozen protocol with amendments, ledger.
std::string protocol_section(const View& view);
// Trials of the learning rate, or one sentence if nothing was tuned.
std::string tuning_section(const View& view);
// Intervals by task, paired differences, probabilities of improvement, curves.
std::string quality_section(const View& view);
// Share of an arm's runs, over all tasks, that reach a score; "" below two tasks that have scores.
// Part of the quality.
std::string profile_chart(const View& view);
// Numbers that somebody published beside the study's, and whether their orderings hold; "" without.
std::string published_section(const View& view);
// Heat maps of every seed by length, and lines.
std::string length_section(const View& view);
// Zero-shot forecasts by arm: ratios to Seasonal Naive, by step of the horizon and by set, annual
// series and the control apart; empty without the task forecast.
std::string forecast_section(const View& view);
// Decoding, state, memory and training; fronts of quality against each.
std::string cost_section(const View& view);
// What was not solved, not decided, failed or skipped.
std::string negative_section(const View& view);
// Digests, splits and their separation.
std::string data_section(const View& view);
// What the numbers cannot say; warnings and failures of the audit.
std::string limits_section(const View& view);
// Commands, hashes, machine, and every run.
std::string reproduce_section(const View& view);

// What a plan's match makes equal, in words.
const char* matched_words(const std::string& match);
// Quality against state, memory, training and decoding time, a chart each; part of the costs.
std::string front_charts(const View& view, const std::string& task);

}  // namespace subquad::report
