// Brackets, names and indentation by hand: a predictor that is right everywhere, and one that is
// wrong at known places.
#include "subquad/task/code/probes.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace subquad {
namespace {

// The first text.size() - 1 bytes as a window; arg-max right but where `wrong` says otherwise
// (index of the predicted byte to the byte predicted instead).
std::map<std::string, double> probes_of(const std::string& text,
                                        const std::map<std::size_t, char>& wrong = {}) {
  const auto n = static_cast<std::int64_t>(text.size()) - 1;
  Scored s{{Tensor({1, n}, DType::i32), Tensor({1, n}, DType::i32)}, {}, {}};
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    s.batch.inputs.data<std::int32_t>()[i] = static_cast<unsigned char>(text[at]);
    s.batch.targets.data<std::int32_t>()[i] = static_cast<unsigned char>(text[at + 1]);
    const auto found = wrong.find(at + 1);
    s.predicted.push_back(
        static_cast<unsigned char>(found == wrong.end() ? text[at + 1] : found->second));
    s.loss.push_back(0);
  }
  std::map<std::string, double> out;
  for (const Metric& m : code_probes(n, std::span<const Scored>(&s, 1))) out[m.name] = m.value;
  return out;
}

TEST(CodeProbes, BracketsMatchByKindDepthAndDistance) {
  const std::string text = " f(a[1], {2})) \"]\" ";
  const auto right = probes_of(text);
  EXPECT_EQ(right.at("bracket_accuracy"), 1.0);
  EXPECT_EQ(right.at("bracket_accuracy_depth_1"), 1.0);
  EXPECT_EQ(right.at("bracket_accuracy_depth_2"), 1.0);
  // ], } and ) have their openers; the last ) and the quoted ] have none. One is predicted as
  // another closer, one as no closer.
  const auto wrong = probes_of(text, {{text.find(']'), ')'}, {text.find('}'), 'x'}});
  EXPECT_DOUBLE_EQ(wrong.at("bracket_accuracy"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(wrong.at("bracket_kind_accuracy"), 1.0 / 2);
  EXPECT_EQ(wrong.at("bracket_accuracy_depth_2"), 0.0);
  EXPECT_EQ(wrong.at("bracket_accuracy_depth_1"), 1.0);
  const auto far = probes_of(" (" + std::string(100, 'x') + ") ");
  EXPECT_TRUE(far.contains("bracket_accuracy_at_64_256"));
  EXPECT_FALSE(far.contains("bracket_accuracy_at_0_64"));
  EXPECT_FALSE(probes_of(std::string(" (\0) ", 5)).contains("bracket_accuracy"))
      << "not across documents";
}

TEST(CodeProbes, NamesCountWhereTheyCameBefore) {
  // "part" is cut by the window, "if" short, "return" a keyword, "width" new once.
  const std::string text = "part width if if return return width part width; ";
  const auto right = probes_of(text);
  EXPECT_EQ(right.at("identifier_accuracy"), 1.0);
  const auto wrong = probes_of(text, {{text.rfind("width") + 2, 'x'}});
  EXPECT_DOUBLE_EQ(wrong.at("identifier_accuracy"), 1.0 / 2);
  // The first letter is free: nobody can know which name comes.
  EXPECT_EQ(probes_of(text, {{text.rfind("width"), 'x'}}).at("identifier_accuracy"), 1.0);
}

TEST(CodeProbes, IndentationIsRightWithItsEnd) {
  const std::string text = "a:\n  b\n\n  c\nd\n";
  const auto right = probes_of(text);
  EXPECT_EQ(right.at("indentation_accuracy"), 1.0);
  // Of "  b", "  c" and "d": one goes on being blank where the line begins.
  const auto wrong = probes_of(text, {{text.find('b'), ' '}});
  EXPECT_DOUBLE_EQ(wrong.at("indentation_accuracy"), 2.0 / 3);
  // Only "d" is indented otherwise than a known line before it.
  EXPECT_EQ(wrong.at("indentation_change_accuracy"), 1.0);
  EXPECT_EQ(probes_of(text, {{text.find('d'), ' '}}).at("indentation_change_accuracy"), 0.0);
}

}  // namespace
}  // namespace subquad
