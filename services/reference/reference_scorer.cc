#include "services/reference/reference_scorer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <set>
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
#include "common/model/torch_boundary.h"

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
    : options_(options), clock_(clock), metrics_(metrics), cache_(options.cache_bytes) {
  metrics_->cache_limit_bytes->Set(static_cast<double>(options_.cache_bytes));
}

// The slow part happens without the lock: callers are told to come again meanwhile.
absl::Status ReferenceScorer::Load(const std::string& job_id, const job::ModelSpec& spec) {
  {
    absl::MutexLock lock(&mutex_);
    if (loaded_ != nullptr && loaded_->job_id == job_id) return absl::OkStatus();
  }
  Unload();
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(
                             spec.path, checkpoint::GivenOverrides(
                                            spec.mask_token_id, spec.block_size, spec.stop_ids)));
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen, model::ChooseDtype(spec.dtype, folder));
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<model::Transformer> model,
      model::Transformer::Load(folder, {.dtype = chosen.dtype, .device = options_.device}));
  auto loaded = std::make_shared<const Loaded>(
      Loaded{.job_id = job_id, .sha256 = Checksum(folder), .model = std::move(model)});
  base::LogInfo("reference model loaded", {{"job", job_id},
                                           {"path", spec.path},
                                           {"dtype", model::DtypeName(chosen.dtype)},
                                           {"device", options_.device.str()},
                                           {"why", chosen.why}});
  absl::MutexLock lock(&mutex_);
  cache_.Clear();
  loaded_ = std::move(loaded);
  return absl::OkStatus();
}

void ReferenceScorer::Unload() {
  absl::MutexLock lock(&mutex_);
  loaded_.reset();
  cache_.Clear();
}

absl::StatusOr<std::shared_ptr<const ReferenceScorer::Loaded>> ReferenceScorer::Find(
    const std::string& job_id, const std::string& sha256) const {
  if (loaded_ == nullptr || loaded_->job_id != job_id) {
    absl::Status status = absl::UnavailableError(
        absl::StrCat("the reference model of job ", job_id, " isn't loaded yet"));
    base::SetReason(status, "reference_loading");
    base::SetRetryAfter(status, absl::Milliseconds(200));
    return status;
  }
  if (!sha256.empty() && sha256 != loaded_->sha256) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the reference of job ", job_id, " has checksum ", loaded_->sha256, ", not ", sha256));
  }
  return loaded_;
}

absl::StatusOr<ReferenceScores> ReferenceScorer::Score(const std::string& job_id,
                                                       const std::string& sha256,
                                                       const trajectory::MaskPlanOptions& options,
                                                       absl::Span<const ScoreItem> items) {
  std::shared_ptr<const Loaded> loaded;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_ASSIGN_OR_RETURN(loaded, Find(job_id, sha256));
  }
  ReferenceScores result{.sha256 = loaded->sha256,
                         .targets = std::vector<std::vector<float>>(items.size())};
  std::deque<Work> works;
  std::vector<size_t> missing;
  for (size_t i = 0; i < items.size(); ++i) {
    DTRPO_RETURN_IF_ERROR(
        trajectory::Validate(items[i].trajectory, loaded->model->descriptor().vocab_size));
    std::string key = CacheKey(options, items[i]);
    if (cache_.Find(key, &result.targets[i])) continue;
    missing.push_back(i);
    works.push_back({.loaded = loaded,
                     .request = &result,
                     .item = &items[i],
                     .options = &options,
                     .key = std::move(key),
                     .status = absl::OkStatus(),
                     .scores = {}});
  }
  metrics_->cache_hits->Increment(static_cast<double>(items.size() - missing.size()));
  Await(works);
  for (size_t m = 0; m < missing.size(); ++m) {
    DTRPO_RETURN_IF_ERROR(works[m].status);
    result.targets[missing[m]] = std::move(works[m].scores);
  }
  metrics_->scored_trajectories->Increment(static_cast<double>(items.size()));
  metrics_->cache_bytes->Set(static_cast<double>(cache_.size_bytes()));
  return result;
}

void ReferenceScorer::Await(std::deque<Work>& works) {
  const auto done = [&works] {
    return std::all_of(works.begin(), works.end(), [](const Work& work) { return work.done; });
  };
  const auto may_go_on = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return done() || !forward_runs_;
  };
  absl::MutexLock lock(&mutex_);
  for (Work& work : works) waiting_.push_back(&work);
  metrics_->waiting->Set(static_cast<double>(waiting_.size()));
  for (;;) {
    // The forward under way ends by itself.
    mutex_.Await(absl::Condition(&may_go_on));
    if (done()) return;
    const std::vector<Work*> batch = TakeBatch();
    metrics_->waiting->Set(static_cast<double>(waiting_.size()));
    if (batch.empty()) continue;
    forward_runs_ = true;
    mutex_.Unlock();
    Forward(batch);
    mutex_.Lock();
    for (Work* work : batch) {
      if (work->status.ok() && work->loaded == loaded_) cache_.Insert(work->key, work->scores);
      work->done = true;
    }
    forward_runs_ = false;
  }
}

std::vector<ReferenceScorer::Work*> ReferenceScorer::TakeBatch() {
  std::vector<Work*> batch;
  std::deque<Work*> rest;
  for (Work* work : waiting_) {
    // Another call may have had it scored meanwhile, as when a learner asks again after a deadline.
    if (work->loaded == loaded_ && cache_.Find(work->key, &work->scores)) {
      work->done = true;
      continue;
    }
    const bool fits =
        batch.empty() || (static_cast<int32_t>(batch.size()) < options_.batch_trajectories &&
                          work->loaded == batch[0]->loaded &&
                          work->options->boundary == batch[0]->options->boundary &&
                          std::none_of(batch.begin(), batch.end(),
                                       [&](const Work* other) { return other->key == work->key; }));
    if (fits) {
      batch.push_back(work);
    } else {
      rest.push_back(work);
    }
  }
  waiting_ = std::move(rest);
  return batch;
}

// One that can't be scored must not take those of other calls with it.
void ReferenceScorer::Forward(absl::Span<Work* const> batch) {
  const absl::Status status = ForwardOnce(batch);
  if (status.ok()) return;
  for (Work* const& work : batch) {
    work->status = batch.size() == 1 ? status : ForwardOnce({&work, 1});
  }
}

absl::Status ReferenceScorer::ForwardOnce(absl::Span<Work* const> batch) {
  const torch::NoGradGuard no_grad;
  const absl::Time started = clock_->Now();
  std::vector<trajectory::MaskPlan> plans;
  plans.reserve(batch.size());
  std::vector<objective::ScoreInput> inputs;
  std::set<const void*> requests;
  for (const Work* work : batch) {
    plans.push_back(
        trajectory::MakeMaskPlan(work->item->trajectory, *work->options, work->item->use_index));
    inputs.push_back({&work->item->trajectory, &plans.back()});
    requests.insert(work->request);
  }
  DTRPO_ASSIGN_OR_RETURN(
      const torch::Tensor terms,
      objective::ScoreTargets(*batch[0]->loaded->model, inputs, batch[0]->options->boundary));
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor flat, model::TorchBoundary([&] {
                           return terms.to(torch::kCPU, torch::kFloat32).contiguous();
                         }));
  const float* next = flat.const_data_ptr<float>();
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i]->scores.assign(next, next + plans[i].target_count);
    next += plans[i].target_count;
  }
  metrics_->forwards->Increment();
  if (requests.size() > 1) metrics_->shared_forwards->Increment();
  metrics_->forward_seconds->Observe(absl::ToDoubleSeconds(clock_->Now() - started));
  metrics_->batch_fill_ratio->Observe(static_cast<double>(batch.size()) /
                                      options_.batch_trajectories);
  return absl::OkStatus();
}

}  // namespace dtrpo::reference
