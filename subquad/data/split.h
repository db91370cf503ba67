// Which documents of a corpus train, validate and test.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace subquad {

struct Document {
  std::string name, text, project;  // name: its path in the source
  int split = 0;                    // 0 train, 1 validation, 2 test
};

// The place after the end of the line that holds `at`, unless that is more than 200 bytes away:
// then `at`.
std::size_t line_border(const std::string& text, std::size_t at);

// Sets the split of every document, a function of names and sizes alone. Units (projects, or files
// where there are fewer than six projects) go by the digest of their name: 10 % test, 10 %
// validation; a unit of more than a fifth of all bytes trains. A test or validation split below
// 5 % of the bytes gets further units from train, in digest order, up to 10 %. Where that fails,
// because units are too coarse, files take the place of projects, and pieces of every file (80 % /
// 10 % / 10 %, by position) the place of files.
// Returns what was done, for the index. The documents have different texts.
std::string assign_splits(std::vector<Document>& documents);

}  // namespace subquad
