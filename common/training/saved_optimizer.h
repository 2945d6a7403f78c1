// Thread safety: const methods may be called from any thread.
//
// The optimizer's state as a checkpoint holds it, whatever number of ranks wrote it, for whatever
// number reads it. One rank writes whole tensors into one file, several write their ranges into a
// file each:
//
//   optimizer.safetensors                  "adamw.exp_avg.<name>"            as the parameter
//   optimizer-00001-of-00002.safetensors   "adamw.exp_avg.<name>@0:96/160"   [0, 96) of 160
//   optimizer-00002-of-00002.safetensors   "adamw.exp_avg.<name>@96:160/160" [96, 160) of 160
//
// Each rank writes beside the others, nothing passes through one of them, and a reader maps the
// files and copies what it owns.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::training {

inline constexpr char kOptimizerFile[] = "optimizer.safetensors";
inline constexpr char kFirstMoment[] = "adamw.exp_avg.";
inline constexpr char kSecondMoment[] = "adamw.exp_avg_sq.";
inline constexpr char kSteps[] = "adamw.steps.";
inline constexpr char kMaster[] = "master.";

// Rank 0 of 2: "optimizer-00001-of-00002.safetensors"; of 1: kOptimizerFile.
std::string OptimizerFileOf(int rank, int world);
// "<name>@<begin>:<end>/<total>".
std::string RangeName(const std::string& name, int64_t begin, int64_t end, int64_t total);

class SavedOptimizer {
 public:
  // DATA_LOSS or NOT_FOUND naming the file. A set of several files must be complete.
  static absl::StatusOr<SavedOptimizer> Open(base::FileSystem* files, const std::string& path);

  // Fills `to`, 1-D, with elements from `begin` of tensor `name`, which has `total`. DATA_LOSS
  // naming the tensor when there are others, or some are missing or of another type.
  absl::Status Read(const std::string& name, int64_t begin, int64_t total,
                    const torch::Tensor& to) const;
  // Every tensor whole, of the shape that `like` has, in `like`'s order; DATA_LOSS as above.
  absl::StatusOr<model::NamedTensors> ReadAll(const model::NamedTensors& like) const;

 private:
  struct Range {
    int64_t begin = 0, end = 0, total = 0;
    torch::Tensor tensor;  // mapped
    bool whole = false;    // of the parameter's shape
  };
  std::string source_;                                // the first file, for errors
  std::map<std::string, std::vector<Range>> ranges_;  // by tensor
};

}  // namespace dtrpo::training
