#include "app/evaluate_text.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "subquad/base/memory.h"
#include "subquad/runtime/choices.h"
#include "subquad/runtime/text_evaluation.h"

namespace subquad::app {
namespace {

using Clock = std::chrono::steady_clock;

LanguageModel open_model(const TextWishes& w) {
  LanguageModel m =
      w.model.empty() ? language_model_of_run(w.run) : published_language_model(w.model);
  if (!m.text() && w.ids_are_bytes) {
    require(m.inputs >= 256, ErrorCode::invalid_argument, "--bytes: the model has ", m.inputs,
            " ids, bytes need 256");
    m.bytes = true;
  }
  require(m.text(), ErrorCode::unsupported, m.folder,
          m.run ? ": this run's task has no text" : ": the folder has no tokenizer.json",
          "; --bytes takes the bytes of a text as ids");
  return m;
}

Json json_of(const TextScore& s, const TextEvaluationSetup& setup) {
  Json j = Json::object();
  j["files"] = s.files;
  j["bytes"] = s.bytes;
  j["tokens"] = s.tokens;
  j["window"] = setup.window;
  j["stride"] = setup.window ? (setup.stride ? setup.stride : setup.window) : 0;
  j["bits_per_byte"] = s.bits_per_byte();
  j["perplexity"] = s.perplexity();
  j["loss"] = s.loss();
  Json& parts = j["loss_by_position"] = Json::array();
  for (const PositionLoss& p : s.by_position) {
    Json part = Json::object();
    part["first"] = p.first;
    part["tokens"] = p.tokens;
    part["loss"] = p.nats / static_cast<double>(p.tokens);
    parts.push_back(std::move(part));
  }
  if (s.compared) {
    j["compared_tokens"] = s.compared;
    j["same_prediction"] = s.same_prediction;
    j["largest_difference"] = s.largest_difference;
  }
  return j;
}

void print(const TextScore& s, const TextEvaluationSetup& setup) {
  if (setup.window == 0) {
    std::printf("one state through every text");
  } else {
    std::printf("windows of %ld tokens, %ld of them scored", static_cast<long>(setup.window),
                static_cast<long>(setup.stride ? setup.stride : setup.window));
  }
  std::printf(": %ld files, %ld bytes, %ld tokens\n", static_cast<long>(s.files),
              static_cast<long>(s.bytes), static_cast<long>(s.tokens));
  std::printf("  bits per byte          %.4f\n  perplexity of a token  %.4f\n", s.bits_per_byte(),
              s.perplexity());
  for (const PositionLoss& p : s.by_position)
    std::printf("  loss after %6ld tokens and more  %.4f nats  (%ld tokens)\n",
                static_cast<long>(p.first), p.nats / static_cast<double>(p.tokens),
                static_cast<long>(p.tokens));
  if (s.compared)
    std::printf("  chunkwise = recurrent  %ld of %ld predictions, losses within %.1e nats\n",
                static_cast<long>(s.same_prediction), static_cast<long>(s.compared),
                s.largest_difference);
}

Json text(Engine& engine, const LanguageModel& model, const TextWishes& w) {
  constexpr std::int64_t kWindow = 2048;
  TextEvaluationSetup setup{.window = w.window, .stride = w.stride};
  setup.execution = execution_named(w.execution);
  if (w.window < 0) {
    // A cache that grows makes a long text quadratic, and learned positions end: windows then.
    const bool grows = model.model().state_bytes(2) > model.model().state_bytes(1);
    const std::int64_t learned = model.model().config().positions,
                       most = learned > 0 ? std::min(kWindow, learned) : kWindow;
    setup.window = grows || learned > 0 ? most : 0;
    if (setup.window > 1 && setup.stride == 0) setup.stride = setup.window / 2;
  }
  require(setup.window > 0 || setup.stride == 0, ErrorCode::invalid_argument, "--stride ", w.stride,
          " without windows; give --window as well");
  const TextScore s = evaluate_text(engine, model, text_files(w.text), setup);
  require(s.tokens > 0, ErrorCode::invalid_argument, w.text, ": nothing to score in ", s.files,
          " files");
  if (!w.json) print(s, setup);
  return json_of(s, setup);
}

double largest_difference(const ChoiceScores& a, const ChoiceScores& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.log_likelihoods.size(); ++i) {
    for (std::size_t c = 0; c < a.log_likelihoods[i].size(); ++c)
      worst = std::max(worst, std::abs(a.log_likelihoods[i][c] - b.log_likelihoods[i][c]));
  }
  return worst;
}

Json choices(Engine& engine, const LanguageModel& model, const TextWishes& w) {
  const std::vector<Question> questions = read_questions(w.choices);
  const Execution execution = execution_named(w.execution);
  ChoiceSetup setup{.most_tokens = w.most_tokens};
  if (setup.most_tokens == 0) setup.most_tokens = model.model().config().positions;
  if (execution == Execution::recurrent) setup.piece_tokens = 1;
  const ChoiceScores s = score_choices(engine, model, questions, setup);
  Json j = Json::object();
  j["questions"] = static_cast<std::int64_t>(questions.size());
  j["acc"] = s.accuracy;
  j["acc_stderr"] = s.accuracy_error;
  j["acc_norm"] = s.accuracy_normalised;
  j["acc_norm_stderr"] = s.accuracy_normalised_error;
  if (execution == Execution::both) {
    setup.piece_tokens = 1;
    j["largest_difference"] = largest_difference(s, score_choices(engine, model, questions, setup));
  }
  Json& all = j["log_likelihoods"] = Json::array();
  for (const auto& question : s.log_likelihoods) {
    Json list = Json::array();
    for (const double value : question) list.push_back(value);
    all.push_back(std::move(list));
  }
  if (w.json) return j;
  std::printf("%ld questions\n  acc       %.4f +- %.4f\n  acc_norm  %.4f +- %.4f\n",
              static_cast<long>(questions.size()), s.accuracy, s.accuracy_error,
              s.accuracy_normalised, s.accuracy_normalised_error);
  if (const Json* d = j.find("largest_difference"))
    std::printf("  chunkwise = recurrent  log-likelihoods within %.1e nats\n", d->as_double());
  return j;
}

}  // namespace

void evaluate_texts(const TextWishes& w) {
  execution_named(w.execution);
  const LanguageModel model = open_model(w);
  Engine engine(static_cast<int>(w.threads), model.precision);
  Json all = Json::object();
  const auto start = Clock::now();
  if (!w.text.empty()) all["text"] = text(engine, model, w);
  if (!w.choices.empty()) all["choices"] = choices(engine, model, w);
  if (w.json) std::printf("%s\n", all.dump().c_str());
  std::fprintf(stderr, "%.1f s, peak memory %.1f MiB\n",
               std::chrono::duration<double>(Clock::now() - start).count(),
               static_cast<double>(peak_memory_bytes()) / (1 << 20));
}

}  // namespace subquad::app
