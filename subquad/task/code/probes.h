// What a model of source code gets right beyond its bits per byte, from its arg-max alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/task/task.h"

namespace subquad {

// Of windows of `length` bytes; nothing where no arg-max was taken (the n-gram). Byte i+1 is
// predicted at position i; what a window saw before its start or past a zero byte (a document's
// end) is not known to it. All are shares, chance is far below, and a metric without a case is
// left out.
//   bracket_accuracy          of closers ) ] } whose opener lies in the window
//   bracket_kind_accuracy     of those, where any closer is predicted: is it the right one
//   bracket_accuracy_at_A_B   by distance to the opener, in bytes
//   bracket_accuracy_depth_N  by nesting depth, N = 1, 2, 4 (3 and 4), 5 (and more)
//   identifier_accuracy       of names of 3 letters or more that occurred before in the window and
//                             are no keywords: all bytes behind the first are right
//   identifier_accuracy_at_A_B  by distance to the last occurrence
//   indentation_accuracy      of lines that are not blank: all spaces and tabs, and where they end
//   indentation_change_accuracy  of those, where the line before was indented differently
// Quotes and comments are not parsed: a bracket in a string that matches nothing is passed over.
std::vector<Metric> code_probes(std::int64_t length, std::span<const Scored> batches);

}  // namespace subquad
