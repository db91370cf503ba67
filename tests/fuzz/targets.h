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
  const char* name;                     // also of its folder in corpus/
  bool (*run)(std::string_view input);  // whether the input was accepted
};
const std::vector<Target>& all_targets();

bool safetensors(std::string_view input);
bool config(std::string_view input);
bool tokenizer_file(std::string_view input);
bool tokenizer_text(std::string_view input);
bool checkpoint(std::string_view input);
bool plan(std::string_view input);
bool ledger(std::string_view input);
bool jsonl(std::string_view input);
bool csv(std::string_view input);
bool chat_template(std::string_view input);
bool state(std::string_view input);
bool shards(std::string_view input);
bool own_layout(std::string_view input);
bool choices(std::string_view input);

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

// A folder of this process in memory.
std::string scratch_folder();
// A folder in it, emptied, with its parents; returns its path.
std::string empty_folder(const std::string& name);
// A file in it that holds `content`; returns its path.
std::string scratch_file(const std::string& name, std::string_view content);

// Takes what stands before the next line "%%" off the front of `input`.
std::string_view take_section(std::string_view& input);

}  // namespace subquad::fuzz
