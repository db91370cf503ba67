// Segments: resets, padding and packing of a batch. An argument, never guessed.
// Spans: the same facts in the form that sequence kernels walk.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace subquad {

struct Segments {
  // Flat offsets into the B*T positions (row-major) at which a document starts: the recurrent state
  // is reset to zero just before that position. The start of a row is a reset only if it is listed
  // (otherwise it continues the incoming state, or the zero state if there is none).
  std::span<const std::int64_t> document_starts;
  // Number of real positions of each row; the rest is padding, which changes nothing. Empty = all
  // T.
  std::span<const std::int64_t> valid_lengths;
  // Position of column 0 within its sequence (rotary angles) when no state carries a position.
  std::int64_t first_position = 0;
};

// Positions [begin, end) of one row that belong to one document.
struct Span {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool reset = false;  // starts from the zero state instead of the state carried so far

  std::int64_t size() const { return end - begin; }
};

// The spans of every row in order. Positions covered by no span are padding: outputs and gradients
// there are zero and the state passes them unchanged.
class Spans {
 public:
  Spans(const Segments& segments, std::int64_t batch, std::int64_t length);

  std::int64_t batch() const { return static_cast<std::int64_t>(first_.size()) - 1; }
  std::int64_t length() const { return length_; }
  std::span<const Span> row(std::int64_t b) const {
    const auto i = static_cast<std::size_t>(b);
    return {spans_.data() + first_[i], first_[i + 1] - first_[i]};
  }
  std::int64_t valid_length(std::int64_t b) const;
  // One span per row covering all T without a reset: the common case.
  bool trivial() const { return trivial_; }

 private:
  std::vector<Span> spans_;
  std::vector<std::size_t> first_;  // batch + 1 offsets into spans_
  std::int64_t length_;
  bool trivial_ = true;
};

}  // namespace subquad
