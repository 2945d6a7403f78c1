// Thread safety: free functions; one writer of a folder at a time.
//
// A learner's checkpoint: a Hugging Face folder that `transformers` loads, and beside the weights
// what exact resume needs.
//
//   model.safetensors
//   config.json, tokenizer files ...   the family's own files, carried over from the base
//   checkpoint optimizer.safetensors              AdamW's state training_state.json {"format": 1,
//   "job_id", "job_hash", "step"}
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

namespace dtrpo::training {

inline constexpr char kOptimizerFile[] = "optimizer.safetensors";
inline constexpr char kTrainingStateFile[] = "training_state.json";

struct TrainingProgress {
  std::string job_id;
  std::string job_hash;  // of the resolved specification: another job's checkpoint is refused
  int64_t step = 0;      // n: this step's update is contained
};

// Writes `path` atomically (checkpoint_writer.h). `optimizer` may be null: a checkpoint that can't
// be resumed.
absl::Status WriteTrainingCheckpoint(base::FileSystem* files, const std::string& path,
                                     const model::Transformer& model,
                                     const checkpoint::CheckpointFolder& base,
                                     const AdamW* optimizer, const TrainingProgress& progress);

// The progress a checkpoint holds. NOT_FOUND when it is a plain model folder; DATA_LOSS naming file
// and field.
absl::StatusOr<TrainingProgress> ReadTrainingProgress(base::FileSystem* files,
                                                      const std::string& path);

// Restores the optimizer from the checkpoint at `path`.
absl::Status RestoreOptimizer(const std::string& path, AdamW& optimizer);

}  // namespace dtrpo::training
