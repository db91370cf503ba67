#include "subquad/backend/segments.h"

#include <algorithm>

#include "subquad/base/error.h"

namespace subquad {

Spans::Spans(const Segments& segments, std::int64_t batch, std::int64_t length) : length_(length) {
  require(batch >= 0 && length >= 0, ErrorCode::shape_mismatch, "batch ", batch, " x length ",
          length);
  const auto& valid = segments.valid_lengths;
  require(valid.empty() || static_cast<std::int64_t>(valid.size()) == batch,
          ErrorCode::shape_mismatch, "valid_lengths has ", valid.size(), " entries for ", batch,
          " rows");
  std::int64_t previous = -1;
  for (std::int64_t start : segments.document_starts) {
    require(start > previous && start < batch * length, ErrorCode::invalid_argument,
            "document start ", start, " after ", previous, ", wanted increasing offsets below ",
            batch * length);
    previous = start;
  }
  auto next = segments.document_starts.begin();
  const auto end_of_starts = segments.document_starts.end();
  first_.push_back(0);
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t n = valid.empty() ? length : valid[static_cast<std::size_t>(b)];
    require(n >= 0 && n <= length, ErrorCode::invalid_argument, "valid length ", n, " of row ", b,
            ", wanted 0 to ", length);
    Span span{0, 0, false};
    for (; next != end_of_starts && *next < (b + 1) * length; ++next) {
      const std::int64_t t = *next - b * length;
      if (t >= n) continue;
      trivial_ = false;
      if (t > span.begin) {
        span.end = t;
        spans_.push_back(span);
      }
      span = {t, t, true};
    }
    span.end = n;
    if (span.size() > 0) spans_.push_back(span);
    if (n != length) trivial_ = false;
    first_.push_back(spans_.size());
  }
}

std::int64_t Spans::valid_length(std::int64_t b) const {
  const auto r = row(b);
  return r.empty() ? 0 : r.back().end;
}

}  // namespace subquad
