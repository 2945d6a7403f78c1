#include "services/reference/reference_scorer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/model/compute_dtype.h"

namespace dtrpo::reference {
namespace {

// Everything the score depends on, the answer's contents too: imported pairs may repeat an id.
std::string CacheKey(const trajectory::MaskPlanOptions& options, const ScoreItem& item) {
  const trajectory::Trajectory& t = item.trajectory;
  base::StableHasher contents;
  for (const std::vector<int32_t>* tokens :
       {&t.prompt_tokens, &t.response_tokens, &t.unmask_step}) {
    contents.Add(tokens->size());
    for (const int32_t value : *tokens) contents.Add(static_cast<uint64_t>(value));
  }
  contents.Add(static_cast<uint64_t>(t.stop_index));
  return absl::StrCat(t.id, "|", base::Hex64(contents.Finish()), "|", item.use_index, "|",
                      trajectory::PlanKey(options));
}

// Of all tensors in the order of their names.
std::string Checksum(const checkpoint::CheckpointFolder& folder) {
  base::Sha256 checksum;
  for (const std::string& name : folder.TensorNames()) {
    const absl::Span<const char> data = folder.Find(name)->data;
    checksum.Update(absl::string_view(data.data(), data.size()));
  }
  return checksum.FinishHex();
}

}  // namespace

ReferenceScorer::ReferenceScorer(const Options& options, base::Clock* clock,
                                 const ReferenceMetrics* metrics)
    : options_(options), clock_(clock), metrics_(metrics), cache_(options.cache_bytes) {}

// The slow part happens without the lock: callers are told to come again meanwhile.
absl::Status ReferenceScorer::Load(const std::string& job_id, const job::ModelSpec& spec) {
  {
    absl::MutexLock lock(&mutex_);
    if (model_ != nullptr && job_id_ == job_id) return absl::OkStatus();
  }
  Unload();
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(
                             spec.path, checkpoint::GivenOverrides(
                                            spec.mask_token_id, spec.block_size, spec.stop_ids)));
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen, model::ChooseDtype(spec.dtype, folder));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<model::Transformer> model,
                         model::Transformer::Load(folder, {.dtype = chosen.dtype}));
  std::string sha256 = Checksum(folder);
  base::LogInfo("reference model loaded", {{"job", job_id},
                                           {"path", spec.path},
                                           {"dtype", model::DtypeName(chosen.dtype)},
                                           {"why", chosen.why}});
  absl::MutexLock lock(&mutex_);
  cache_.Clear();
  model_ = std::move(model);
  sha256_ = std::move(sha256);
  job_id_ = job_id;
  return absl::OkStatus();
}

void ReferenceScorer::Unload() {
  absl::MutexLock lock(&mutex_);
  model_.reset();
  job_id_.clear();
  cache_.Clear();
}

absl::StatusOr<ReferenceScores> ReferenceScorer::Score(const std::string& job_id,
                                                       const std::string& sha256,
                                                       const trajectory::MaskPlanOptions& options,
                                                       absl::Span<const ScoreItem> items) {
  absl::MutexLock lock(&mutex_);
  if (model_ == nullptr || job_id_ != job_id) {
    absl::Status status = absl::UnavailableError(
        absl::StrCat("the reference model of job ", job_id, " isn't loaded yet"));
    base::SetReason(status, "reference_loading");
    base::SetRetryAfter(status, absl::Milliseconds(200));
    return status;
  }
  if (!sha256.empty() && sha256 != sha256_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the reference of job ", job_id, " has checksum ", sha256_, ", not ", sha256));
  }
  ReferenceScores result{.sha256 = sha256_,
                         .targets = std::vector<std::vector<float>>(items.size())};
  std::vector<std::vector<float>>& scores = result.targets;
  std::vector<std::string> keys(items.size());
  std::vector<size_t> missing;
  for (size_t i = 0; i < items.size(); ++i) {
    DTRPO_RETURN_IF_ERROR(
        trajectory::Validate(items[i].trajectory, model_->descriptor().vocab_size));
    keys[i] = CacheKey(options, items[i]);
    if (!cache_.Find(keys[i], &scores[i])) missing.push_back(i);
  }
  metrics_->cache_hits->Increment(static_cast<double>(items.size() - missing.size()));

  torch::NoGradGuard no_grad;
  for (size_t begin = 0; begin < missing.size(); begin += options_.batch_trajectories) {
    const size_t end = std::min(missing.size(), begin + options_.batch_trajectories);
    std::vector<trajectory::MaskPlan> plans;
    plans.reserve(end - begin);
    std::vector<objective::ScoreInput> inputs;
    for (size_t m = begin; m < end; ++m) {
      const ScoreItem& item = items[missing[m]];
      plans.push_back(trajectory::MakeMaskPlan(item.trajectory, options, item.use_index));
      inputs.push_back({&item.trajectory, &plans.back()});
    }
    const absl::Time started = clock_->Now();
    DTRPO_ASSIGN_OR_RETURN(const torch::Tensor terms,
                           objective::ScoreTargets(*model_, inputs, options.boundary));
    const torch::Tensor flat = terms.to(torch::kCPU, torch::kFloat32).contiguous();
    const float* next = flat.const_data_ptr<float>();
    for (size_t m = begin; m < end; ++m) {
      const int64_t count = plans[m - begin].target_count;
      scores[missing[m]].assign(next, next + count);
      next += count;
      cache_.Insert(keys[missing[m]], scores[missing[m]]);
    }
    metrics_->forwards->Increment();
    metrics_->forward_seconds->Observe(absl::ToDoubleSeconds(clock_->Now() - started));
    metrics_->batch_fill_ratio->Observe(static_cast<double>(end - begin) /
                                        options_.batch_trajectories);
  }
  metrics_->scored_trajectories->Increment(static_cast<double>(items.size()));
  metrics_->cache_bytes->Set(static_cast<double>(cache_.size_bytes()));
  return result;
}

}  // namespace dtrpo::reference
