// Thread safety: one thread. The options by which subcommands name a checkpoint folder, and loading
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/training/trained_model.h"

namespace dtrpo::tools {

struct ModelOptions {
  std::string path;
  int32_t mask_token_id = -1;  // < 0: from the folder's files
  int32_t block_size = 0;      // 0: from config.json
  int32_t threads = 0;         // 0: LibTorch's choice
  std::string dtype = "auto";
  std::string device = "cpu";     // model/device.h
  std::vector<int32_t> stop_ids;  // empty: from the folder's files
  std::string adapter_path;       // of LoRA adapters to compute with; empty: none
};

// --model, --mask-token-id, --block-size, --stop-ids, --dtype, --device, --threads.
void AddModelOptions(CLI::App* app, ModelOptions* options);

// --adapter, for those who don't train.
void AddAdapterOption(CLI::App* app, ModelOptions* options);
// --trainable, --lora-rank, --lora-alpha, --lora-targets, --lora-save, --activation-checkpointing.
void AddTrainedPartOptions(CLI::App* app, job::TrainingSpec* training);

// Weights included; sets nothing.
absl::StatusOr<checkpoint::CheckpointFolder> OpenModelFolder(const ModelOptions& options);

struct LoadedModel {
  checkpoint::CheckpointFolder folder;
  std::unique_ptr<model::Transformer> model;  // borrows the folder's mapped files
};
struct ModelToTrain {
  checkpoint::CheckpointFolder folder;
  training::TrainedModel model;
};

// Call one of them, once per process (they set LibTorch's threads). The dtype is options.dtype
// (model/compute_dtype.h); one that isn't the folder's own is named on standard error with the
// reason.
absl::StatusOr<LoadedModel> LoadModel(const ModelOptions& options);
// What is trained is what `job` says under training.trainable and training.lora.
absl::StatusOr<ModelToTrain> LoadModelToTrain(const ModelOptions& options,
                                              const job::JobSpec& job = {});
// Random weights; the folder's own are not read and need not be there.
absl::StatusOr<ModelToTrain> RandomModelToTrain(const ModelOptions& options, uint64_t seed);

}  // namespace dtrpo::tools
