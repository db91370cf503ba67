#pragma once

namespace subquad::app {

// Last commit that changed the sources and, after a "+", a digest of uncommitted changes; "unknown" outside a
// checkout. Written anew by every build (cmake/revision.cmake).
extern const char* const kRevision;

}  // namespace subquad::app
