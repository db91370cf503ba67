// Small products of bf16 factors in instructions that few processors have: packing into tiles, and
// a block of rows times a block of columns. Plain data in and out, so that dense_bf16.cpp can be
// compiled for any processor.
#pragma once

#include <cstdint>

namespace subquad::bf16 {

using Bits = std::uint16_t;  // the upper half of an f32
// A tile holds 16 lines (rows of the left factor, columns of the right one) of 32 inner indices k,
// zeros where the matrix ends. Left: [line][k]. Right: [k / 2][line][k % 2].
constexpr std::int64_t kLines = 16, kDepth = 32, kTile = kLines * kDepth;
constexpr std::int64_t tiles(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

enum class Side : std::uint8_t { left, right };

// Element (line, k) at data[line * stride + k], or if lines_contiguous at data[k * stride + line].
struct Factor {
  const float* data;
  std::int64_t stride, lines, depth;
  bool lines_contiguous;

  std::int64_t depth_tiles() const { return tiles(depth, kDepth); }
  std::int64_t packed_size() const { return tiles(lines, kLines) * depth_tiles() * kTile; }
  const float* at(std::int64_t line, std::int64_t k) const {
    return lines_contiguous ? data + k * stride + line : data + line * stride + k;
  }
};

// What becomes of the sums: C = sum, C += sum, C = sum + bias.
enum class Epilogue : std::uint8_t { set, add, bias };

struct Block {
  const Bits *left, *right;  // packed
  std::int64_t rows, columns, depth_tiles;
  float* c;
  std::int64_t ldc;
  Epilogue epilogue;
  const float* bias;  // by column
};

struct Instructions {
  // Tiles of lines [first, first + 16), in order of k.
  void (*pack_lines)(const Factor& from, Side side, std::int64_t first, Bits* to);
  // The bits of an element of C depend on its factors only, whatever the block around it.
  void (*multiply)(const Block& block);
};
// Null where the processor or the operating system lacks them.
const Instructions* amx();     // Intel from Sapphire Rapids on: 16 x 16 x 32 per instruction
const Instructions* avx512();  // AMD from Zen 4 on, Intel from Cooper Lake on: 16 x 2

}  // namespace subquad::bf16
