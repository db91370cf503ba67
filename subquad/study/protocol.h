// What a study promises before its first run: hypotheses, primary metrics, arms, budgets and
// exclusion rules, frozen with their hash. Changes are dated amendments, never edits.
#pragma once

#include <string>
#include <utility>

#include "subquad/study/plan.h"

namespace subquad {

// What is wrong with a plan's [protocol] table, as {key, message}; {"", ""} if nothing is.
// Keys: hypotheses (list, see parse_hypothesis), exclusion and stopping (rules in words), margin
// (table: largest difference of a task's primary metric that counts as none), conflict_of_interest,
// recipe_source, declared_differences (list of configuration paths that may differ between arms),
// scope ("these sizes" or "general"), served_precision, claims_time (bool).
std::pair<std::string, std::string> wrong_protocol(const StudyPlan& plan);

// "runs/t.toml" -> "runs/t.protocol.json".
std::string protocol_path(const std::string& plan_path);

// {"format", "frozen" (UTC), "plan_sha256", "plan", "primary": {task: {"metric", "length",
// "solved_at"}}, "hypotheses", "exclusion", "amendments": [], "sha256"}. `now`: UTC, ISO 8601.
// Errors: no hypothesis or no exclusion rule.
Json freeze_protocol(const StudyPlan& plan, const std::string& now);
// The same document with one more amendment: {"date", "reason", "plan_sha256", "plan", "previous"
// (the hash before it), "changed": [paths]}. Errors: nothing changed; an empty reason.
Json amend_protocol(const Json& frozen, const StudyPlan& plan, const std::string& reason,
                    const std::string& now);
// The plan in force: that of the last amendment.
const Json& plan_in_force(const Json& frozen);
// Errors: a document whose hashes do not match its content.
void verify_protocol(const Json& frozen, const std::string& source);
// Errors: the plan (StudyPlan::to_json) is not the one in force; the message lists what differs. MLP widths of a match
// in time are measured later and may be missing.
void require_planned(const Json& frozen, const Json& plan, const std::string& source);
// SHA-256 of a protocol with its first `amendments` amendments, as its chain of hashes has it.
std::string protocol_hash(const Json& protocol, std::size_t amendments);

// Now, as "2026-01-31T12:00:00Z".
std::string utc_now();

}  // namespace subquad
