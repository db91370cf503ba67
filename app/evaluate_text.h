// `subquad evaluate` on texts and multiple-choice questions.
#pragma once

#include <cstdint>
#include <string>

namespace subquad::app {

struct TextWishes {
  std::string model, run;     // folders; one of them
  std::string text, choices;  // one or both
  std::string execution = "both";
  std::int64_t window = -1;  // -1: the whole text if the state has one size, else kWindow
  std::int64_t stride = 0;
  std::int64_t most_tokens = 0;
  std::int64_t threads = 1;
  bool ids_are_bytes = false;
  bool json = false;
};

void evaluate_texts(const TextWishes& wishes);

}  // namespace subquad::app
