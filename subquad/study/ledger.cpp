#include "subquad/study/ledger.h"

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
    require(record.get("previous", "") == last_, ErrorCode::format, where,
            ": the chain is broken: this line does not follow the one before it. The ledger was "
            "edited or damaged; restore "
            "it or start a new study folder");
    require(record.get("sha256", "") == hash_of(record), ErrorCode::format, where,
            ": content does not match its SHA-256. The ledger was edited or damaged; restore it or "
            "start a new study folder");
    last_ = record.at("sha256").as_string();
    records_.push_back(std::move(record));
    from = end + 1;
  }
}

void Ledger::append(Json record) {
  record["previous"] = last_;
  const std::string hash = hash_of(record);
  record["sha256"] = hash;
  append_to_file(path_, record.dump() + "\n");
  last_ = hash;
  records_.push_back(std::move(record));
}

}  // namespace subquad
