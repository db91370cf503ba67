#include "subquad/study/ledger.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"

namespace subquad {
namespace {

std::string hash_of(const Json& record) {
  Json body = Json::object();
  for (const auto& [key, value] : record.as_object()) {
    if (key != "sha256") body[key] = value;
  }
  return sha256(body.dump());
}

// "" or why a record cannot follow the one with hash `last`, and what `number` it should have.
std::string damage(const Json& record, const std::string& last, std::int64_t number) {
  if (record.get("previous", "") != last)
    return "the chain is broken: this line does not follow the one before it";
  if (record.get("sha256", "") != hash_of(record)) return "content does not match its SHA-256";
  const std::int64_t own = record.get("number", number);
  if (own != number)
    return "number " + std::to_string(own) + ", wanted " + std::to_string(number) +
           ": records are missing";
  return "";
}

}  // namespace

Ledger::Ledger(std::string path) : path_(std::move(path)) {
  if (!std::filesystem::exists(path_)) return;
  const std::string text = read_file(path_);
  std::size_t from = 0, line = 0;
  while (from < text.size()) {
    ++line;
    const std::size_t end = text.find('\n', from);
    const std::string where = path_ + ":" + std::to_string(line);
    if (end == std::string::npos) {  // a crash while writing: the record was never acknowledged
      std::fprintf(stderr,
                   "subquad: %s: the last line is cut short; it is removed and its run repeated\n",
                   where.c_str());
      write_file_atomically(path_, std::string_view(text).substr(0, from));
      break;
    }
    Json record = Json::parse(std::string_view(text).substr(from, end - from), where);
    const std::string wrong = damage(record, last_, static_cast<std::int64_t>(records_.size()) + 1);
    require(wrong.empty(), ErrorCode::format, where, ": ", wrong,
            ". The ledger was edited or damaged; restore it or start a new study folder");
    last_ = record.at("sha256").as_string();
    records_.push_back(std::move(record));
    from = end + 1;
  }
}

void Ledger::append(Json record) {
  record["number"] = static_cast<std::int64_t>(records_.size()) + 1;
  record["previous"] = last_;
  const std::string hash = hash_of(record);
  record["sha256"] = hash;
  append_line(path_, record.dump());
  last_ = hash;
  records_.push_back(std::move(record));
}

LedgerCheck check_ledger(const std::string& path) {
  LedgerCheck check;
  const std::string text = read_file(path);
  std::string last;
  std::size_t line = 0;
  for (std::size_t from = 0; from < text.size();) {
    ++line;
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string where = "line " + std::to_string(line) + ": ";
    try {
      Json record = Json::parse(std::string_view(text).substr(from, end - from), where);
      const std::int64_t place =
          check.records.empty() ? 1 : check.records.back().get("number", 0) + 1;
      const std::string wrong = damage(record, last, place);
      if (!wrong.empty()) check.problems.push_back(where + wrong);
      last = record.get("sha256", "");
      record["number"] = record.get("number", place);
      check.records.push_back(std::move(record));
    } catch (const Error& e) {
      check.problems.push_back(where + e.what());
    }
    from = end + 1;
  }
  return check;
}

}  // namespace subquad
