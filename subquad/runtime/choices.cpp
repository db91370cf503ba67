#include "subquad/runtime/choices.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

constexpr std::size_t kMostLine = std::size_t{16} << 20;

// A line without its end; false at the end of the file.
bool read_line(std::istream& in, std::string& line, const std::string& place) {
  line.clear();
  for (int c = in.get(); c != EOF; c = in.get()) {
    if (c == '\n') return true;
    require(line.size() < kMostLine, ErrorCode::format, place, ": longer than ", kMostLine,
            " bytes; wanted one question per line");
    line += static_cast<char>(c);
  }
  return !line.empty();
}

Question question_of(const Json& json) {
  Question q;
  q.context = json.at("context").as_string();
  q.delimiter = json.get("delimiter", " ");
  for (const Json& choice : json.at("choices").as_array()) q.choices.push_back(choice.as_string());
  require(q.choices.size() >= 2, ErrorCode::format, "key \"choices\": ", q.choices.size(),
          " of them, wanted 2 or more");
  const std::int64_t answer = json.at("answer").as_int();
  require(answer >= 0 && answer < static_cast<std::int64_t>(q.choices.size()), ErrorCode::format,
          "key \"answer\": ", answer, ", wanted 0 to ", q.choices.size() - 1);
  q.answer = static_cast<std::size_t>(answer);
  return q;
}

// In code points; an empty choice counts as one.
double characters(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) ++count;
  return static_cast<double>(std::max<std::int64_t>(count, 1));
}

double sum_of_losses(Session& session, std::span<const std::int32_t> inputs,
                     std::span<const std::int32_t> targets) {
  double sum = 0;
  for (const float loss : session.score(inputs, targets).loss) sum += static_cast<double>(loss);
  return sum;
}

class Scorer {
 public:
  Scorer(Engine& engine, const LanguageModel& model, const ChoiceSetup& setup)
      : model_(model),
        setup_(setup),
        empty_(engine, model.model(), model.store(),
               {.piece_tokens = setup.piece_tokens, .keep_ids = false}) {}

  std::vector<double> score(const Question& q) {
    std::vector<double> out;
    std::vector<std::int32_t> read;  // by `common`
    Session common = empty_;
    for (const std::string& choice : q.choices) {
      const EncodedPair pair = encode_pair(model_, q.context, q.delimiter + choice);
      std::vector<std::int32_t> all = pair.context;
      all.insert(all.end(), pair.continuation.begin(), pair.continuation.end());
      const auto scored = static_cast<std::ptrdiff_t>(pair.continuation.size());
      if (const auto most = setup_.most_tokens;
          most > 0 && static_cast<std::int64_t>(all.size()) > most + 1)
        all.erase(all.begin(), all.end() - (most + 1));
      // The last token of the context comes with the choice, whose first token it predicts.
      const auto known = std::max<std::ptrdiff_t>(0, std::ssize(all) - scored - 1);
      const std::vector<std::int32_t> context(all.begin(), all.begin() + known);
      if (context != read) {
        common = empty_;
        common.prefill(context);
        read = context;
      }
      std::vector<std::int32_t> targets(all.begin() + known + 1, all.end());
      Session fork = common;
      out.push_back(-sum_of_losses(
          fork, std::span(all).subspan(static_cast<std::size_t>(known), targets.size()), targets));
    }
    return out;
  }

 private:
  const LanguageModel& model_;
  const ChoiceSetup& setup_;
  Session empty_;
};

// Of a share of n.
double standard_error(double share, std::size_t n) {
  return n > 1 ? std::sqrt(share * (1 - share) / static_cast<double>(n - 1)) : 0;
}

}  // namespace

std::vector<Question> read_questions(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  require(in.is_open(), ErrorCode::io, "cannot read ", path);
  std::vector<Question> questions;
  std::string line;
  for (std::int64_t number = 1;; ++number) {
    const std::string place = path + ":" + std::to_string(number);
    if (!read_line(in, line, place)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      questions.push_back(question_of(Json::parse(line, place)));
    } catch (Error& e) {
      if (std::string(e.what()).find(place) == std::string::npos) e.add_context(place);
      throw;
    }
  }
  require(!in.bad(), ErrorCode::io, "cannot read ", path, " to its end");
  require(!questions.empty(), ErrorCode::format, path, ": no question in it");
  return questions;
}

EncodedPair encode_pair(const LanguageModel& model, const std::string& context,
                        const std::string& continuation) {
  std::size_t end = context.size();
  while (end > 0) {
    const CodePoint c = code_point_before(context, end);
    if (c.value == kNoCodePoint || !(classes_of(c.value) & kSpace)) break;
    end -= c.bytes;
  }
  const std::string before = context.substr(0, end), after = context.substr(end) + continuation;
  EncodedPair pair;
  if (!before.empty()) pair.context = model.encode(before, false);
  const std::vector<std::int32_t> whole = model.encode(before + after, false);
  const std::size_t count = std::min(pair.context.size(), whole.size());
  pair.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(count), whole.end());
  if (pair.context.empty() && model.prefix_id() >= 0) pair.context = {model.prefix_id()};
  require(!pair.continuation.empty() && !pair.context.empty(), ErrorCode::invalid_argument,
          "the choice \"", continuation, "\" behind a context of ", pair.context.size(),
          " tokens has ", pair.continuation.size(), " tokens of its own; wanted one of each");
  return pair;
}

ChoiceScores score_choices(Engine& engine, const LanguageModel& model,
                           const std::vector<Question>& questions, const ChoiceSetup& setup) {
  ChoiceScores scores;
  Scorer scorer(engine, model, setup);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const Question& q = questions[i];
    std::vector<double> sums = scorer.score(q), normalised;
    for (std::size_t c = 0; c < sums.size(); ++c) {
      require(std::isfinite(sums[c]), ErrorCode::numeric, "question ", i + 1, ", choice ", c + 1,
              ": the log-likelihood is ", sums[c]);
      normalised.push_back(sums[c] / characters(q.choices[c]));
    }
    const auto best = [](const std::vector<double>& v) {
      return static_cast<std::size_t>(std::max_element(v.begin(), v.end()) - v.begin());
    };
    scores.accuracy += best(sums) == q.answer ? 1 : 0;
    scores.accuracy_normalised += best(normalised) == q.answer ? 1 : 0;
    scores.log_likelihoods.push_back(std::move(sums));
  }
  const auto n = static_cast<double>(questions.size());
  scores.accuracy /= n;
  scores.accuracy_normalised /= n;
  scores.accuracy_error = standard_error(scores.accuracy, questions.size());
  scores.accuracy_normalised_error = standard_error(scores.accuracy_normalised, questions.size());
  return scores;
}

}  // namespace subquad
