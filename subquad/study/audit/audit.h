// The fairness audit: 44 checks of a finished study, each with its numbers and the runs it is
// about. What every check wants is in docs/audit.md.
#pragma once

#include <string>
#include <vector>

#include "subquad/study/audit/input.h"

namespace subquad {

enum class Light : std::uint8_t { pass, not_applicable, warn, fail };  // better to worse

struct CheckOutcome {
  Light light = Light::pass;
  std::string numbers;            // what was found
  std::vector<std::string> runs;  // ids of runs that it is about; empty: all
};

struct AuditCheck {
  const char *id, *title;
  CheckOutcome (*check)(const AuditInput&);
};
const std::vector<AuditCheck>& audit_checks();

struct AuditLine {
  std::string id, title;
  CheckOutcome outcome;
};
// Every check, in the table's order. A check whose evidence is damaged or missing fails and says
// what it could not read.
std::vector<AuditLine> audit_study(const AuditInput& in);

const char* name_of(Light light);  // "PASS", "N.A.", "WARN", "FAIL"
Light worst_of(const std::vector<AuditLine>& lines);
std::string audit_text(const AuditInput& in, const std::vector<AuditLine>& lines);
Json audit_json(const AuditInput& in, const std::vector<AuditLine>& lines);

}  // namespace subquad
