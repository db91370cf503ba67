// Everything that an audit reads, from a study folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/ledger.h"

namespace subquad {

struct AuditInput {
  Json results, timings, provenance;
  Json protocol;  // frozen; null: none
  Json tuning;    // of results.json, else tuning.json (docs/formats.md); null: no trials
  Json data_now;  // digests of the data as they are now, by task; null: not read again
  Json overlap;   // by byte task: shared documents of train and test, see data/overlap.h
  LedgerCheck ledger;
  std::map<std::string, Json> configs;                   // config.json by run id
  std::map<std::string, std::vector<Json>> test_access;  // lines of test_access.jsonl by run id

  const Json& plan() const { return results.at("plan"); }
};

// Reads the folder and, where its paths still hold, the data of its tasks again.
// Errors: no results.json or no ledger.
AuditInput read_audit_input(const std::string& folder);

}  // namespace subquad
