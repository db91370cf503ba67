// The checks, by group, and what they share. Each returns its outcome from the input alone and
// throws Error where the evidence it needs is missing or damaged, which is a failure.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "subquad/study/audit/audit.h"
#include "subquad/study/format.h"

namespace subquad::checks {

// A: what was made equal.
CheckOutcome parameters(const AuditInput&);
CheckOutcome training_flops(const AuditInput&);
CheckOutcome data_order(const AuditInput&);
CheckOutcome decode_state(const AuditInput&);
CheckOutcome shared_components(const AuditInput&);
CheckOutcome end_of_schedule(const AuditInput&);
CheckOutcome scales(const AuditInput&);
// B: tuning.
CheckOutcome recipe(const AuditInput&);
CheckOutcome trials(const AuditInput&);
CheckOutcome interior(const AuditInput&);
CheckOutcome recipes_agree(const AuditInput&);
CheckOutcome sensitivity(const AuditInput&);
CheckOutcome tuning_cost(const AuditInput&);
// C: selection.
CheckOutcome protocol_first(const AuditInput&);
CheckOutcome ledger_complete(const AuditInput&);
CheckOutcome seeds_present(const AuditInput&);
CheckOutcome best_of_many(const AuditInput&);
CheckOutcome interests(const AuditInput&);
CheckOutcome test_openings(const AuditInput&);
// D: statistics.
CheckOutcome seed_count(const AuditInput&);
CheckOutcome intervals(const AuditInput&);
CheckOutcome pairing(const AuditInput&);
CheckOutcome claims_supported(const AuditInput&);
CheckOutcome failures(const AuditInput&);
CheckOutcome signal_to_noise(const AuditInput&);
CheckOutcome scaling_fit(const AuditInput&);
CheckOutcome power(const AuditInput&);
// E: data.
CheckOutcome split_digests(const AuditInput&);
CheckOutcome exact_duplicates(const AuditInput&);
CheckOutcome near_duplicates(const AuditInput&);
CheckOutcome contamination(const AuditInput&);
CheckOutcome time_overlap(const AuditInput&);
CheckOutcome collisions(const AuditInput&);
CheckOutcome evaluator(const AuditInput&);
// F: provenance.
CheckOutcome manifests(const AuditInput&);
CheckOutcome one_binary(const AuditInput&);
CheckOutcome reruns(const AuditInput&);
CheckOutcome one_host(const AuditInput&);
// G: costs.
CheckOutcome cost_table(const AuditInput&);
CheckOutcome kernel_maturity(const AuditInput&);
CheckOutcome latency_range(const AuditInput&);
CheckOutcome served_precision(const AuditInput&);
CheckOutcome pareto(const AuditInput&);
CheckOutcome time_claims(const AuditInput&);

// pass below or at `good`, warn up to `fair`, else fail.
Light graded(double value, double good, double fair);
Light worse(Light a, Light b);

// Finished runs of models; the n-gram counts and is left out.
std::vector<const Json*> model_runs(const AuditInput&);
std::vector<const Json*> model_runs(const AuditInput&, const std::string& task);
std::vector<std::string> model_arms(const AuditInput&);
std::string id_of(const Json& run);
// Records of the ledger of one kind ("run", "rerun", "note"); status "" is any.
std::vector<const Json*> records(const AuditInput&, const std::string& kind,
                                 const std::string& status = "");
// Finished runs of the plan; those of other plans are marked exploratory.
std::vector<const Json*> planned_records(const AuditInput&);
// Whether a note in the ledger explains a check: {"kind": "note", "check": id, "text": ...}.
bool explained(const AuditInput&, const std::string& check);
// A field of the plan's table [protocol]; null if absent.
const Json* promised(const AuditInput&, const std::string& key);

// Half the range over the middle, as in "within 1 %": (high - low) / (high + low); 0 of nothing.
double spread(const std::vector<double>& x);
std::string percent(double share);

// Compares `value` of all runs within the groups that `group` makes; returns the ids of the runs
// that differ from the first of their group.
std::vector<std::string> deviants(const std::vector<const Json*>& runs,
                                  const std::function<std::string(const Json&)>& group,
                                  const std::function<std::string(const Json&)>& value);

}  // namespace subquad::checks
