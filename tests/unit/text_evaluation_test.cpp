// Texts and multiple-choice questions on a golden checkpoint, against the same figures computed
// directly from whole sequences.
#include "subquad/runtime/text_evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/runtime/choices.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

struct Opened {
  LanguageModel model;
  Engine engine;

  explicit Opened(const std::string& name) : model(published_language_model(kCases + name)) {
    model.bytes = true;
  }
  // -log p of every id behind the ones before it, in f64 from the logits of one whole sequence.
  std::vector<double> losses(const std::vector<std::int32_t>& ids) {
    Context cx = engine.context(model.store());
    const auto T = static_cast<std::int64_t>(ids.size());
    const Tensor logits =
        model.model().logits(cx, Tensor::from<std::int32_t>({1, T}, ids), {}, nullptr).value;
    const std::int64_t V = logits.shape()[2];
    std::vector<double> out;
    for (std::int64_t t = 0; t + 1 < T; ++t) {
      const float* row = logits.data<float>() + t * V;
      double sum = 0;
      for (std::int64_t i = 0; i < V; ++i) sum += std::exp(static_cast<double>(row[i]));
      out.push_back(std::log(sum) - static_cast<double>(row[ids[static_cast<std::size_t>(t) + 1]]));
    }
    return out;
  }
};

std::vector<std::int32_t> behind_zero(const std::string& text) {
  std::vector<std::int32_t> ids = {0};
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

double sum(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += x;
  return s;
}

const std::string kText =
    "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals, "
    "when it was checked by a violent gust of wind.";

class TextFile {
 public:
  explicit TextFile(const std::string& text, const std::string& name = "evaluated.txt")
      : path(temporary_path(name)) {
    std::ofstream(path, std::ios::binary) << text;
  }
  ~TextFile() { std::filesystem::remove(path); }
  std::string path;
};

TEST(TextEvaluation, OneStateThroughTheTextIsTheWholeSequence) {
  const TextFile file(kText);
  for (const char* name : {"mamba2_hf", "xlstm_hf", "gdn_fla_hybrid", "llama_sharded"}) {
    Opened o(name);
    const double want = sum(o.losses(behind_zero(kText)));
    for (const std::int64_t piece : {1, 10, 1 << 20}) {
      const TextScore got =
          evaluate_text(o.engine, o.model, {file.path, file.path}, {.piece_bytes = piece});
      const auto n = static_cast<std::int64_t>(kText.size());
      EXPECT_EQ(got.files, 2);
      EXPECT_EQ(got.bytes, 2 * n);
      EXPECT_EQ(got.tokens, 2 * n);
      EXPECT_NEAR(got.nats, 2 * want, 2e-3) << name;
      EXPECT_NEAR(got.bits_per_byte(), want / std::log(2.0) / static_cast<double>(n), 1e-5);
      EXPECT_NEAR(got.perplexity(), std::exp(want / static_cast<double>(n)), 1e-2);
      EXPECT_EQ(got.compared, 2 * n);
      EXPECT_GE(got.same_prediction, 2 * n - 1);
      EXPECT_LT(got.largest_difference, 1e-3);
    }
  }
}

// Window k predicts its last `stride` tokens from at most `window` tokens before each.
TEST(TextEvaluation, WindowsScoreEveryTokenOnce) {
  const TextFile file(kText);
  Opened o("mamba2_hf");
  const auto ids = behind_zero(kText);
  const auto n = static_cast<std::int64_t>(kText.size());
  for (const auto& [window, stride] : {std::pair{32, 32}, {32, 8}, {50, 49}, {7, 1}, {500, 20}}) {
    double want = 0, first = 0;
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t end = std::min<std::int64_t>(n, done + (done ? stride : window)),
                         begin = std::max<std::int64_t>(0, end - window);
      const auto losses = o.losses({ids.begin() + begin, ids.begin() + end + 1});
      for (std::int64_t t = done; t < end; ++t) {
        const double loss = losses[static_cast<std::size_t>(t - begin)];
        want += loss;
        if (t - begin < 16) first += loss;
      }
      done = end;
    }
    for (const Execution e : {Execution::both, Execution::recurrent, Execution::chunkwise}) {
      const TextScore got =
          evaluate_text(o.engine, o.model, {file.path},
                        {.window = window, .stride = stride, .execution = e, .piece_bytes = 13});
      EXPECT_EQ(got.tokens, n) << window << " " << stride;
      EXPECT_NEAR(got.nats, want, 2e-3) << window << " " << stride;
      EXPECT_NEAR(got.by_position[0].nats, first, 1e-3);
      EXPECT_EQ(got.compared, e == Execution::both ? n : 0);
      EXPECT_LT(got.largest_difference, 1e-3);
    }
  }
  EXPECT_THROW(evaluate_text(o.engine, o.model, {file.path}, {.window = 4, .stride = 5}), Error);
}

// A normalizer may take all of a text, and no prefix stand before it.
TEST(TextEvaluation, ATextOfNoTokensScoresNothing) {
  Opened o("qwen3");
  TokenizerDefinition d;
  for (int b = 0; b < 256; ++b)
    d.vocabulary.emplace_back(letter_of(static_cast<std::uint8_t>(b)), b);
  d.pattern = WordPattern::gpt2;
  d.normalizer.push_back({NormalizerStep::Kind::replace, "a", ""});
  o.model.tokenizer.emplace(std::move(d));
  o.model.bytes = false;
  o.model.begin_id = -1;
  o.model.end_ids.clear();
  const TextFile swallowed("aaa"), rest("aaabcd", "rest.txt");
  const TextScore none = evaluate_text(o.engine, o.model, {swallowed.path}, {});
  EXPECT_EQ(none.tokens, 0);
  EXPECT_EQ(none.bytes, 0);
  const TextScore some = evaluate_text(o.engine, o.model, {rest.path}, {});
  EXPECT_EQ(some.tokens, 2);
  EXPECT_EQ(some.bytes, 5) << "all but the first token's";
}

TEST(TextEvaluation, LossesByPositionAddUp) {
  const TextFile file(kText);
  Opened o("qwen3");
  const auto losses = o.losses(behind_zero(kText));
  const TextScore got = evaluate_text(o.engine, o.model, {file.path}, {});
  ASSERT_EQ(got.by_position.size(), 3u);
  EXPECT_EQ(got.by_position[1].first, 16);
  EXPECT_EQ(got.by_position[1].tokens, 48);
  EXPECT_NEAR(got.by_position[1].nats, sum({losses.begin() + 16, losses.begin() + 64}), 1e-3);
}

TEST(TextEvaluation, WhatIsNotANumberIsReported) {
  const TextFile file(kText);
  Opened o("mamba2_hf");
  // Weights as the file has them are mapped and cannot be written.
  auto own =
      std::make_unique<ParameterStore>(ParameterStore::zeros(o.model.published->plan, DType::f32));
  o.model.published->load(*own);
  own->value(o.model.model().head_weight()).data<float>()[7] = std::nanf("");
  o.model.weights = std::move(own);
  try {
    evaluate_text(o.engine, o.model, {file.path}, {});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::numeric);
    EXPECT_NE(std::string(e.what()).find(file.path + ": token 0"), std::string::npos) << e.what();
  }
  EXPECT_THROW(text_files("/nowhere"), Error);
}

TEST(Choices, LogLikelihoodsAreThoseOfWholeSequences) {
  Opened o("gdn_fla_hybrid");
  const std::vector<Question> questions = {
      {.context = "The capital of France is  ", .choices = {"Paris", "Rome", "a\xC3\xA4"}},
      {.context = "", .choices = {"left", "right"}, .answer = 1},
      {.context = "2 + 2 =", .delimiter = "", .choices = {"4", "five", " 22"}, .answer = 2}};
  std::vector<std::vector<double>> want;
  double acc = 0, norm = 0;
  for (const Question& q : questions) {
    want.emplace_back();
    std::size_t best = 0, best_norm = 0;
    std::vector<double> normalised;
    for (std::size_t c = 0; c < q.choices.size(); ++c) {
      std::string context = q.context;
      const std::string rest = q.delimiter + q.choices[c];
      const auto ids = context.empty() ? behind_zero(rest) : [&] {
        auto all = behind_zero(context + rest);
        all.erase(all.begin());
        return all;
      }();
      // Spaces at the context's end are scored with the choice.
      while (context.ends_with(' ')) context.pop_back();
      const auto losses = o.losses(ids);
      const std::size_t scored = q.context.size() - context.size() + rest.size();
      want.back().push_back(
          -sum({losses.end() - static_cast<std::ptrdiff_t>(scored), losses.end()}));
      const double characters =
          q.choices[c] == "a\xC3\xA4" ? 2 : static_cast<double>(q.choices[c].size());
      normalised.push_back(want.back().back() / characters);
      if (want.back()[c] > want.back()[best]) best = c;
      if (normalised[c] > normalised[best_norm]) best_norm = c;
    }
    acc += best == q.answer ? 1.0 / 3 : 0;
    norm += best_norm == q.answer ? 1.0 / 3 : 0;
  }
  for (const std::int64_t piece : {1, 512}) {
    const ChoiceScores got = score_choices(o.engine, o.model, questions, {.piece_tokens = piece});
    for (std::size_t i = 0; i < want.size(); ++i) {
      for (std::size_t c = 0; c < want[i].size(); ++c)
        EXPECT_NEAR(got.log_likelihoods[i][c], want[i][c], 2e-4) << i << " " << c;
    }
    EXPECT_NEAR(got.accuracy, acc, 1e-12);
    EXPECT_NEAR(got.accuracy_normalised, norm, 1e-12);
    EXPECT_NEAR(got.accuracy_error, std::sqrt(acc * (1 - acc) / 2), 1e-12);
  }
  // A context that is too long loses its start.
  const ChoiceScores cut = score_choices(o.engine, o.model, questions, {.most_tokens = 6});
  const auto ids = behind_zero("is   Rome");
  const auto losses = o.losses({ids.end() - 7, ids.end()});
  EXPECT_NEAR(cut.log_likelihoods[0][1], -sum(losses), 2e-4);
}

// The cut of the harness: continuation ids are those of the whole behind the context's.
TEST(Choices, PairsAreCutAsTheHarnessDoes) {
  LanguageModel m;
  m.inputs = m.outputs = 1 << 20;
  m.tokenizer = Tokenizer::load(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/qwen3");
  const EncodedPair pair = encode_pair(m, "def add(a, b):\n  ", "return a");
  const auto context = m.tokenizer->encode("def add(a, b):"),
             whole = m.tokenizer->encode("def add(a, b):\n  return a");
  EXPECT_EQ(pair.context, context);
  EXPECT_EQ(pair.continuation,
            std::vector<std::int32_t>(whole.begin() + std::ssize(context), whole.end()));
  EXPECT_THROW(encode_pair(m, "", "x"), Error);  // nothing to stand before it
  m.end_ids = {5};
  EXPECT_EQ(encode_pair(m, "", "x").context, std::vector<std::int32_t>{5});
}

TEST(Choices, FilesAreReadStrictly) {
  const std::string path = temporary_path("questions.jsonl");
  const auto read = [&](const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return read_questions(path);
  };
  const auto q = read(
      "{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 1, \"id\": 7}\n\n"
      "{\"context\": \"\", \"choices\": [\"b\", \"c\"], \"answer\": 0, \"delimiter\": \"\"}");
  ASSERT_EQ(q.size(), 2u);
  EXPECT_EQ(q[0].answer, 1u);
  EXPECT_EQ(q[0].delimiter, " ");
  EXPECT_EQ(q[1].delimiter, "");
  const std::pair<const char*, const char*> bad[] = {
      {"{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 0}", "choices"},
      {"{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}", "answer"},
      {"{\"context\": \"a\", \"choices\": [\"b\", 1], \"answer\": 0}", "string"},
      {"{\"choices\": [\"b\", \"c\"], \"answer\": 0}", "context"},
      {"{\"context\": \"a\"", "questions.jsonl:1"},
      {"", "no question"}};
  for (const auto& [text, part] : bad) {
    try {
      read(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace subquad
