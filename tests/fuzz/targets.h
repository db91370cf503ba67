// Everything that reads what others wrote, as functions of bytes. Whatever the bytes are, a target
// returns; it throws nothing, and takes neither more than bounded memory nor more than bounded time.
// libFuzzer drives them in the preset `fuzz`, the corpus is replayed by replay_test.cpp everywhere.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/base/error.h"

namespace subquad::fuzz {

struct Target {
  const char* name;  // also of its folder in corpus/
  void (*run)(std::string_view input);
};
const std::vector<Target>& all_targets();

void safetensors(std::string_view input);
void config(std::string_view input);
void tokenizer_file(std::string_view input);
void tokenizer_text(std::string_view input);
void checkpoint(std::string_view input);
void plan(std::string_view input);
void ledger(std::string_view input);
void jsonl(std::string_view input);
void csv(std::string_view input);
void chat_template(std::string_view input);
void state(std::string_view input);

// Runs `body`; an Error is what bad input is for. Anything else passes through and is a find.
// Errors of kind internal are finds too: bad input is never our mistake.
template <class Body>
bool accepted(Body&& body) {
  try {
    body();
    return true;
  } catch (const Error& e) {
    if (e.code() == ErrorCode::internal) throw;
    return false;
  }
}

// A promise that must hold for accepted input; broken, it is a find.
void promise(bool holds, const char* what);

// A folder of this process in memory, emptied for each run.
std::string scratch_folder();
// A file in it that holds `content`; returns its path.
std::string scratch_file(const std::string& name, std::string_view content);

// Takes what stands before the next line "%%" off the front of `input`.
std::string_view take_section(std::string_view& input);

}  // namespace subquad::fuzz
