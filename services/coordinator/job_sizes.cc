#include "services/coordinator/job_sizes.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_limits.h"

namespace dtrpo::coordinator {
namespace {

using checkpoint::CheckpointFolder;
using checkpoint::TensorView;

int64_t Elements(const TensorView& tensor) {
  int64_t count = 1;
  for (int64_t size : tensor.shape) count *= size;
  return count;
}

// As common/model/compute_dtype.h decides.
std::string ComputedIn(const job::JobSpec& spec, const CheckpointFolder& folder) {
  if (spec.model.dtype != "auto") return spec.model.dtype;
  std::set<checkpoint::DType> stored;
  for (const std::string& name : folder.TensorNames()) stored.insert(folder.Find(name)->dtype);
  const bool bfloat16 = stored.size() == 1 && *stored.begin() == checkpoint::DType::kBF16;
  return bfloat16 ? "bfloat16" : "float32";
}

// A and B beside each projection of the layers, as common/model/lora.h places them.
int64_t AdapterElements(const job::LoraSpec& lora, const TensorView& tensor) {
  if (tensor.shape.size() != 2 || !absl::EndsWith(tensor.name, ".weight")) return 0;
  const absl::string_view module = absl::StripSuffix(tensor.name, ".weight");
  const bool in_layer =
      absl::StrContains(module, ".layers.") || absl::StrContains(module, ".blocks.");
  const bool targeted =
      lora.targets.empty() ||
      std::any_of(lora.targets.begin(), lora.targets.end(), [&](const std::string& target) {
        return module == target || absl::EndsWith(module, absl::StrCat(".", target));
      });
  return in_layer && targeted ? lora.rank * (tensor.shape[0] + tensor.shape[1]) : 0;
}

absl::StatusOr<int64_t> TrainedElements(const job::TrainingSpec& training,
                                        const CheckpointFolder& folder) {
  for (const std::string& pattern : training.trainable) {
    const std::vector<std::string> names = folder.TensorNames();
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) {
          return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
        })) {
      return absl::InvalidArgumentError(
          absl::StrCat("training.trainable: no tensor matches '", pattern, "'"));
    }
  }
  int64_t trained = 0;
  for (const std::string& name : folder.TensorNames()) {
    const TensorView& tensor = *folder.Find(name);
    const bool matches = training.trainable.empty() ||
                         std::any_of(training.trainable.begin(), training.trainable.end(),
                                     [&](const std::string& pattern) {
                                       return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
                                     });
    if (training.lora.rank > 0) {
      trained += AdapterElements(training.lora, tensor);
    } else if (matches) {
      trained += Elements(tensor);
    }
  }
  return trained;
}

}  // namespace

absl::StatusOr<v1::JobSizes> SizesOf(const job::JobSpec& spec, base::FileSystem* files) {
  const job::ModelSpec& model = spec.model;
  DTRPO_ASSIGN_OR_RETURN(
      const CheckpointFolder folder,
      base::Annotate(
          CheckpointFolder::Open(
              model.path,
              checkpoint::GivenOverrides(model.mask_token_id, model.block_size, model.stop_ids),
              files),
          "model.path"));
  int64_t all = 0;
  for (const std::string& name : folder.TensorNames()) all += Elements(*folder.Find(name));

  v1::JobSizes sizes;
  sizes.set_parameters(all);
  sizes.set_dtype(ComputedIn(spec, folder));
  const int64_t width = sizes.dtype() == "bfloat16" ? 2 : 4;
  sizes.set_reference_bytes(all * width);
  if (spec.kind == job::JobKind::kEval) {
    sizes.set_rollout_bytes(all * width);
    return sizes;
  }
  DTRPO_ASSIGN_OR_RETURN(const int64_t trained, TrainedElements(spec.training, folder));
  const bool adapters = spec.training.lora.rank > 0;
  const bool masters = width < 4;
  sizes.set_trained_parameters(trained);
  sizes.set_push_bytes(trained * width);
  sizes.set_rollout_bytes((adapters ? all + 2 * trained : all + trained) * width);

  // Float32: gradients, AdamW's two moments, masters. Several ranks share all but the gradients.
  const int64_t ranks = spec.training.ranks;
  const int64_t slices = (8 + (masters ? 4 : 0) + (ranks > 1 ? 4 : 0)) * trained;
  sizes.set_learner_bytes((all + (adapters ? trained : 0)) * width + 4 * trained + slices / ranks);

  const bool adapter_only = spec.training.lora.save == "adapter" && adapters;
  sizes.set_checkpoint_bytes((adapter_only ? 4 * trained : all * width) +
                             (8 + (masters || adapters ? 4 : 0)) * trained);
  const int64_t kept = spec.training.keep_checkpoints + 1 + (spec.evaluation.keep_best ? 1 : 0);
  sizes.set_disk_bytes(kept * sizes.checkpoint_bytes());
  sizes.set_replay_items(job::RequiredReplayItems(spec));
  sizes.set_replay_bytes(job::RequiredReplayBytes(spec));
  return sizes;
}

}  // namespace dtrpo::coordinator
