#include "app/forecast_model.h"

#include <filesystem>

#include "subquad/base/error.h"
#include "subquad/model/forecaster.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/train/run.h"

namespace subquad::app {

void ModelOptions::add_to(Options& options) {
  options
      .option("--model", folder,
              "a trained forecaster, as Model: a run folder of the task forecast, a folder made by "
              "subquad convert, a TiRex checkpoint (config.json, model.safetensors), or shipped: "
              "the one that comes with the program")
      .option("--patches-per-pass", patches_per_pass,
              "patches that --model forecasts before it scales its context anew (0: all; TiRex's "
              "own default is 1)",
              {0, 1 << 20})
      .option("--precision", precision, "of the products of --model: f32 or bf16");
}

std::string shipped_forecaster() {
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const char* place : {"../share/subquad/forecaster", "../../examples/forecaster"}) {
    const std::filesystem::path folder = (here / place).lexically_normal();
    if (std::filesystem::exists(folder / "config.json")) return folder;
  }
  return {};
}

struct ForecastModel::Parts {
  std::unique_ptr<TrainedRun> run;
  std::unique_ptr<Pretrained> published;
  std::unique_ptr<ParameterStore> store;
  Engine engine;
  std::unique_ptr<Forecaster> forecaster;
  ManyForecasts many;
  Baseline entry{"model", "Model", "the trained model of --model", nullptr};

  Parts(const ModelOptions& options, std::int64_t threads)
      : engine(static_cast<int>(threads), precision_named(options.precision)) {
    const std::string folder = options.folder == "shipped" ? shipped_forecaster() : options.folder;
    require(!folder.empty(), ErrorCode::io,
            "--model shipped: no forecaster lies in ../share/subquad/forecaster or "
            "../../examples/forecaster, seen from the program");
    const std::string path = folder + "/config.json";
    const Model* model = nullptr;
    if (read_published_json(path).contains("arm")) {
      run = open_run(folder);
      model = run->model.get();
      store = std::move(run->store);
    } else {
      published = open_pretrained(folder);
      store = std::make_unique<ParameterStore>(ParameterStore::zeros(published->plan, DType::f32));
      published->load(*store);
      model = published->model.get();
    }
    require(model->config().forecasts(), ErrorCode::invalid_argument, folder,
            " holds a model of token ids, wanted a forecaster");
    forecaster = std::make_unique<Forecaster>(engine, *model, *store);
    many = [this, n = options.patches_per_pass](std::span<const std::span<const double>> series,
                                                std::span<const std::int64_t> seasons,
                                                const ForecastSetup& setup) {
      return guarded_forecasts(*forecaster, series, seasons, setup, n);
    };
    entry.many = &many;
  }
};

ForecastModel::ForecastModel(const ModelOptions& options, std::int64_t threads)
    : parts_(std::make_unique<Parts>(options, threads)) {}
ForecastModel::~ForecastModel() = default;
const Baseline& ForecastModel::entry() const { return parts_->entry; }

}  // namespace subquad::app
