// Thread safety: free functions; one writer of a folder at a time.
//
// A learner's checkpoint: a Hugging Face folder that `transformers` loads, and beside the weights
// what exact resume needs.
//
//   model.safetensors, or shards   what computes, in the dtype of the training
//   config.json, tokenizer ...     all other files of the base checkpoint, config.json's dtype set
//   optimizer.safetensors          AdamW's state; float32 masters or adapters if there are any
//   training_state.json            {"format": 1, "job_id", "job_hash", "step", "trained"}
//
// Adapters are merged into the weights, or kept apart: then adapter_config.json and
// adapter_model.safetensors, as PEFT writes them, take the place of the first two lines.
//
// There is no RNG state: every random number is a pure function of the job's seed and of names
// (common/trajectory/mask_plan.h).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/model/transformer.h"
#include "common/training/adamw.h"
#include "common/training/saved_optimizer.h"
#include "common/training/sharded_optimizer.h"
#include "common/training/trained_model.h"

namespace dtrpo::training {

inline constexpr char kTrainingStateFile[] = "training_state.json";

struct TrainingProgress {
  std::string job_id;
  std::string job_hash;  // of the resolved specification: another job's checkpoint is refused
  int64_t step = 0;      // n: this step's update is contained
  std::string trained = "all tensors";  // model::Describe(TrainedParts)
};

struct CheckpointFormat {
  int64_t max_shard_bytes = 0;  // of a file of weights; 0: checkpoint::kDefaultShardBytes
  bool adapter_only = false;    // a model with adapters: they alone
  // Rank 0 of several: the state is this one's and that of the others' parts, which are there.
  const ShardedOptimizer* sharded = nullptr;
};

// Writes `path` atomically (checkpoint_writer.h). `optimizer` may be null: a checkpoint that can't
// be resumed. One that trains masters instead of the model's parameters (trained_model.h) has them
// saved with its state, and so are adapters.
absl::Status WriteTrainingCheckpoint(base::FileSystem* files, const std::string& path,
                                     const model::Transformer& model,
                                     const checkpoint::CheckpointFolder& base,
                                     const AdamW* optimizer, const TrainingProgress& progress,
                                     const CheckpointFormat& format = {});

// The progress a checkpoint holds. NOT_FOUND when it is a plain model folder; DATA_LOSS naming file
// and field.
absl::StatusOr<TrainingProgress> ReadTrainingProgress(base::FileSystem* files,
                                                      const std::string& path);

// What another rank than 0 adds to the checkpoint at `path`: its state, complete and synced, in the
// folder `<path>.part-<rank>`. Rank 0 moves the file into the checkpoint, which so appears whole or
// not at all.
absl::Status WriteCheckpointPart(base::FileSystem* files, const std::string& path,
                                 const ShardedOptimizer& optimizer);
std::string PartPath(const std::string& path, int rank);

// Restores the optimizer, or the masters, from the checkpoint at `path`.
absl::Status RestoreOptimizer(const std::string& path, AdamW& optimizer);
absl::Status RestoreMasters(const std::string& path, TrainedModel& trained);

}  // namespace dtrpo::training
