// The text of studies/default.toml, so that `subquad compare` works in any folder.
#pragma once

namespace subquad::app {

extern const char* const kDefaultStudy;

}  // namespace subquad::app
