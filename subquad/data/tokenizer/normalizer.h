#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "subquad/data/tokenizer/definition.h"

namespace subquad {

// The text after all steps: `text` itself if there is nothing to do, else in one of the buffers.
// Bytes that are not valid UTF-8 stay as they are.
std::string_view normalize(const std::vector<NormalizerStep>& steps, std::string_view text,
                           std::string (&buffers)[2]);

// Every `from` (not empty) by `to`.
void replace_all(std::string_view text, std::string_view from, std::string_view to,
                 std::string& out);

}  // namespace subquad
