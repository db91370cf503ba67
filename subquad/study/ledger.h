// The ledger: append-only JSON lines, each carrying the hash of the line before it. One process
// writes.
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
  // Adds "previous" and "sha256" and writes one synced line.
  void append(Json record);

 private:
  std::string path_;
  std::vector<Json> records_;
  std::string last_;
};

}  // namespace subquad
