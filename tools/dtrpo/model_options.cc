#include "tools/dtrpo/model_options.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/adapter_folder.h"
#include "common/model/compute_dtype.h"
#include "common/model/device.h"
#include "common/model/torch_runtime.h"

namespace dtrpo::tools {
namespace {

constexpr char kPartsGroup[] = "Trained parts";

checkpoint::DescriptorOverrides Overrides(const ModelOptions& options) {
  checkpoint::DescriptorOverrides overrides;
  if (options.mask_token_id >= 0) overrides.mask_token_id = options.mask_token_id;
  if (options.block_size > 0) overrides.block_size = options.block_size;
  overrides.stop_ids = options.stop_ids;
  return overrides;
}

absl::StatusOr<torch::Dtype> DtypeOf(const ModelOptions& options,
                                     const checkpoint::CheckpointFolder& folder) {
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype own,
                         model::ChooseDtype(model::kAutoDtype, folder));
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen,
                         model::ChooseDtype(options.dtype, folder));
  if (chosen.dtype != own.dtype || !own.native) {
    std::cerr << absl::StrCat("dtype: ", model::DtypeName(chosen.dtype), " (", chosen.why, ")\n");
  }
  return chosen.dtype;
}

absl::StatusOr<torch::Device> DeviceOf(const ModelOptions& options) {
  return base::Annotate(model::ParseDevice(options.device), "--device");
}

}  // namespace

void AddModelOptions(CLI::App* app, ModelOptions* options) {
  app->add_option("--model", options->path, "Hugging Face checkpoint folder")
      ->required()
      ->type_name("DIR");
  app->add_option("--mask-token-id", options->mask_token_id,
                  "mask token, where the folder's files don't say")
      ->check(CLI::NonNegativeNumber)
      ->type_name("ID");
  app->add_option("--block-size", options->block_size, "block size instead of config.json's")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  app->add_option("--stop-ids", options->stop_ids,
                  "tokens that end an answer instead of those the folder's files name")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->type_name("ID,ID");
  app->add_option("--dtype", options->dtype,
                  "what weights are kept and computed in: auto (the checkpoint's own), float32 or "
                  "bfloat16; weights stored so are used from the mapped files. Log-probabilities "
                  "are float32 in each")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->type_name("TYPE")
      ->capture_default_str();
  app->add_option(
         "--device", options->device,
         "where the model computes: cpu, cuda (the first GPU) or cuda:N; GPUs need a build "
         "with CUDA")
      ->type_name("DEVICE")
      ->capture_default_str();
  app->add_option("--threads", options->threads, "threads of one tensor operation; default: all")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
}

void AddAdapterOption(CLI::App* app, ModelOptions* options) {
  app->add_option(
         "--adapter", options->adapter_path,
         "folder of LoRA adapters in PEFT's layout, computed beside the weights of --model")
      ->type_name("DIR");
}

void AddTrainedPartOptions(CLI::App* app, job::TrainingSpec* training) {
  CLI::Option* const trainable =
      app->add_option(
             "--trainable", training->trainable,
             "train only tensors whose names match, for instance '*.mlp.*'; again for more")
          ->type_name("PATTERN")
          ->group(kPartsGroup);
  CLI::Option* const rank =
      app->add_option("--lora-rank", training->lora.rank,
                      "train adapters of this rank beside frozen weights; 0: no adapters")
          ->check(CLI::Range(0, 1 << 16))
          ->excludes(trainable)
          ->type_name("R")
          ->group(kPartsGroup)
          ->capture_default_str();
  app->add_option("--lora-alpha", training->lora.alpha,
                  "adapters are scaled by alpha / rank; 0: twice the rank")
      ->check(CLI::NonNegativeNumber)
      ->needs(rank)
      ->type_name("A")
      ->group(kPartsGroup)
      ->capture_default_str();
  app->add_option("--lora-targets", training->lora.targets,
                  "modules by the end of their names; default: all projections of the layers")
      ->delimiter(',')
      ->needs(rank)
      ->type_name("NAME,NAME")
      ->group(kPartsGroup);
  app->add_option("--lora-save", training->lora.save,
                  "merged: a whole checkpoint; adapter: PEFT's two files")
      ->check(CLI::IsMember({"merged", "adapter"}))
      ->needs(rank)
      ->group(kPartsGroup)
      ->capture_default_str();
  app->add_flag("--activation-checkpointing", training->activation_checkpointing,
                "compute each layer again in the backward pass: less memory, more time")
      ->group(kPartsGroup);
}

absl::StatusOr<checkpoint::CheckpointFolder> OpenModelFolder(const ModelOptions& options) {
  return checkpoint::CheckpointFolder::Open(options.path, Overrides(options));
}

absl::StatusOr<LoadedModel> LoadModel(const ModelOptions& options) {
  if (options.threads > 0) model::SetThreads(options.threads);
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device, DeviceOf(options));
  DTRPO_ASSIGN_OR_RETURN(checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(options.path, Overrides(options)));
  DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype, DtypeOf(options, folder));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<model::Transformer> model,
                         model::Transformer::Load(folder, {.dtype = dtype, .device = device}));
  if (!options.adapter_path.empty()) {
    DTRPO_ASSIGN_OR_RETURN(model, model::WithAdapterFolder(*model, options.adapter_path));
  }
  return LoadedModel{std::move(folder), std::move(model)};
}

absl::StatusOr<ModelToTrain> LoadModelToTrain(const ModelOptions& options,
                                              const job::JobSpec& job) {
  if (options.threads > 0) model::SetThreads(options.threads);
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device, DeviceOf(options));
  DTRPO_ASSIGN_OR_RETURN(checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(options.path, Overrides(options)));
  DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype, DtypeOf(options, folder));
  training::TrainingOptions trained = training::TrainingOptionsOf(job, dtype);
  trained.device = device;
  DTRPO_ASSIGN_OR_RETURN(training::TrainedModel model,
                         training::TrainedModel::Load(folder, trained));
  return ModelToTrain{std::move(folder), std::move(model)};
}

absl::StatusOr<ModelToTrain> RandomModelToTrain(const ModelOptions& options, uint64_t seed) {
  if (options.threads > 0) model::SetThreads(options.threads);
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device, DeviceOf(options));
  DTRPO_ASSIGN_OR_RETURN(
      checkpoint::CheckpointFolder folder,
      checkpoint::CheckpointFolder::OpenWithoutTensors(options.path, Overrides(options)));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<model::Transformer> full,
                         model::Transformer::Random(
                             folder.descriptor(), seed,
                             {.dtype = torch::kFloat32, .requires_grad = true, .device = device}));
  DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype, DtypeOf(options, folder));
  DTRPO_ASSIGN_OR_RETURN(training::TrainedModel model,
                         training::TrainedModel::Create(std::move(full), dtype));
  return ModelToTrain{std::move(folder), std::move(model)};
}

}  // namespace dtrpo::tools
