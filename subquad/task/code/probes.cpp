#include "subquad/task/code/probes.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

namespace subquad {
namespace {

// Of the languages of the default corpus; what every program repeats says nothing of recall.
const std::set<std::string>& keywords() {
  static const std::set<std::string> words = {
      "and",     "assert",   "async",     "auto",      "await",    "bool",     "break",    "case",
      "catch",   "char",     "class",     "const",     "continue", "def",      "default",  "del",
      "double",  "elif",     "else",      "enum",      "except",   "export",   "extern",   "false",
      "False",   "finally",  "float",     "for",       "from",     "func",     "function", "global",
      "goto",    "impl",     "import",    "include",   "int",      "let",      "long",     "match",
      "mod",     "mut",      "namespace", "new",       "nil",      "None",     "not",      "null",
      "package", "private",  "pub",       "public",    "raise",    "range",    "return",   "self",
      "short",   "signed",   "size_t",    "sizeof",    "static",   "str",      "struct",   "super",
      "switch",  "template", "this",      "throw",     "trait",    "true",     "True",     "try",
      "type",    "typedef",  "typename",  "undefined", "union",    "unsigned", "use",      "using",
      "var",     "void",     "where",     "while",     "with",     "yield"};
  return words;
}

struct Share {
  double right = 0, all = 0;
  void add(bool is_right) {
    all += 1;
    right += is_right ? 1 : 0;
  }
};

bool letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool in_word(int c) { return letter(c) || (c >= '0' && c <= '9'); }
bool blank(int c) { return c == ' ' || c == '\t'; }
char opener_of(int c) { return c == ')' ? '(' : c == ']' ? '[' : c == '}' ? '{' : '\0'; }

std::string bucket(const std::string& name, std::int64_t distance) {
  constexpr std::int64_t kBorders[] = {0, 64, 256, 1024, 4096, 16384};
  for (std::size_t i = 0; i + 1 < std::size(kBorders); ++i) {
    if (distance < kBorders[i + 1])
      return name + "_at_" + std::to_string(kBorders[i]) + "_" + std::to_string(kBorders[i + 1]);
  }
  return name + "_at_16384_up";
}

// One window: text[i + 1] was predicted as predicted[i].
class Window {
 public:
  Window(const std::vector<int>& text, std::span<const std::int32_t> predicted,
         std::map<std::string, Share>& shares)
      : text_(text), predicted_(predicted), shares_(shares) {}

  void brackets() {
    std::vector<std::pair<int, std::size_t>> open;
    for (std::size_t i = 0; i < text_.size(); ++i) {
      const int c = text_[i];
      if (c == 0) open.clear();
      if (c == '(' || c == '[' || c == '{') open.emplace_back(c, i);
      if (!opener_of(c) || open.empty() || open.back().first != opener_of(c)) continue;
      const std::int64_t distance = static_cast<std::int64_t>(i - open.back().second);
      const std::size_t depth = open.size();
      open.pop_back();
      const bool right = guess(i) == c;
      shares_["bracket_accuracy"].add(right);
      if (opener_of(guess(i))) shares_["bracket_kind_accuracy"].add(right);
      shares_[bucket("bracket_accuracy", distance)].add(right);
      shares_["bracket_accuracy_depth_" + std::string(depth >= 5   ? "5"
                                                      : depth >= 3 ? "4"
                                                      : depth == 2 ? "2"
                                                                   : "1")]
          .add(right);
    }
  }

  void identifiers() {
    std::unordered_map<std::string, std::size_t> last;
    std::size_t i = 0;
    while (i < text_.size() && in_word(text_[i])) ++i;  // a word that began before the window
    while (i < text_.size()) {
      if (text_[i] == 0) last.clear();
      if (!in_word(text_[i])) {
        ++i;
        continue;
      }
      const std::size_t start = i;
      std::string word;
      while (i < text_.size() && in_word(text_[i])) word += static_cast<char>(text_[i++]);
      if (i == text_.size() || !letter(word[0]) || word.size() < 3 || keywords().contains(word))
        continue;
      const auto before = last.find(word);
      if (before != last.end()) {
        bool right = true;
        for (std::size_t k = start + 1; k < i; ++k) right = right && guess(k) == text_[k];
        shares_["identifier_accuracy"].add(right);
        shares_[bucket("identifier_accuracy", static_cast<std::int64_t>(start - before->second))]
            .add(right);
      }
      last[word] = start;
    }
  }

  void indentation() {
    std::string before;
    bool known = false;
    for (std::size_t i = 1; i < text_.size(); ++i) {
      if (text_[i] == 0) known = false;
      if (text_[i - 1] != '\n') continue;
      std::size_t end = i;
      while (end < text_.size() && blank(text_[end])) ++end;
      if (end == text_.size() || text_[end] == '\n' || text_[end] == 0) continue;
      bool right = !blank(guess(end));
      std::string own;
      for (std::size_t k = i; k < end; ++k) {
        own += static_cast<char>(text_[k]);
        right = right && guess(k) == text_[k];
      }
      shares_["indentation_accuracy"].add(right);
      if (known && own != before) shares_["indentation_change_accuracy"].add(right);
      before = own;
      known = true;
    }
  }

 private:
  int guess(std::size_t i) const { return i == 0 ? -1 : predicted_[i - 1]; }

  const std::vector<int>& text_;
  std::span<const std::int32_t> predicted_;
  std::map<std::string, Share>& shares_;
};

}  // namespace

std::vector<Metric> code_probes(std::int64_t length, std::span<const Scored> batches) {
  std::map<std::string, Share> shares;
  const auto columns = static_cast<std::size_t>(length);
  for (const Scored& s : batches) {
    const auto inputs = s.batch.inputs.host<std::int32_t>(),
               targets = s.batch.targets.host<std::int32_t>();
    for (std::size_t from = 0; from + columns <= inputs.size(); from += columns) {
      if (s.predicted.empty() || s.predicted[from] < 0) continue;
      std::vector<int> text(inputs.begin() + static_cast<std::ptrdiff_t>(from),
                            inputs.begin() + static_cast<std::ptrdiff_t>(from + columns));
      if (targets[from + columns - 1] >= 0) text.push_back(targets[from + columns - 1]);
      Window window(text, std::span(s.predicted).subspan(from, columns), shares);
      window.brackets();
      window.identifiers();
      window.indentation();
    }
  }
  std::vector<Metric> out;
  for (const auto& [name, share] : shares) out.push_back({name, share.right / share.all, "", true});
  return out;
}

}  // namespace subquad
