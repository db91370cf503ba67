// The ledger: append-only JSON lines, numbered, each carrying the hash of the line before it: a
// record that was changed, removed or put in later shows. One process writes.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

class Ledger {
 public:
  // Reads and verifies. A last line cut short by a crash is removed and reported on stderr; any
  // other damage is an error that names the line.
  explicit Ledger(std::string path);

  const std::vector<Json>& records() const { return records_; }
  // Adds "number", "previous" and "sha256" and writes one synced line.
  void append(Json record);

 private:
  std::string path_;
  std::vector<Json> records_;
  std::string last_;
};

// A ledger as it is, nothing repaired: what can be read of it, and what is wrong, line by line.
// Lines from before records were numbered count by their place.
struct LedgerCheck {
  std::vector<Json> records;
  std::vector<std::string> problems;
};
LedgerCheck check_ledger(const std::string& path);

}  // namespace subquad
