#include "services/coordinator/job_checkpoints.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace dtrpo::coordinator {

absl::Status JobCheckpoints::Register(int64_t step, const std::string& path,
                                      const std::vector<int64_t>& evaluating, absl::Time now) {
  if (step < newest().step) {
    return absl::FailedPreconditionError(absl::StrCat(
        "checkpoint of step ", step, ", but that of step ", newest().step, " is registered"));
  }
  saved_[step] = {.step = step, .folder_step = step, .path = path, .registered = now};
  ChooseBest();
  // What the learner will remove is none that a job can go back to.
  const auto first_kept =
      std::prev(saved_.end(),
                std::min<int64_t>(std::max(1, options_.keep), static_cast<int64_t>(saved_.size())));
  for (auto it = saved_.begin(); it != first_kept;) {
    const bool judged =
        std::find(evaluating.begin(), evaluating.end(), it->first) == evaluating.end();
    const bool is_best = it->second.path == best_.path;
    it = !is_best && (judged || !options_.keep_best) ? saved_.erase(it) : std::next(it);
  }
  return absl::OkStatus();
}

bool JobCheckpoints::OnEvaluated(int64_t step, double accuracy) {
  accuracy_[step] = accuracy;
  ChooseBest();
  if (!best_seen_.has_value() || accuracy > *best_seen_) {
    best_seen_ = accuracy;
    best_seen_step_ = step;
    without_better_ = 0;
    return true;
  }
  ++without_better_;
  if (options_.stop_after > 0 && without_better_ >= options_.stop_after) {
    stop_ = absl::StrCat("stopped early: ", without_better_,
                         " evaluations in a row weren't better than ", *best_seen_, " at step ",
                         best_seen_step_, " (evaluation.stop_after)");
  }
  return false;
}

void JobCheckpoints::ForgetEvaluationsFrom(int64_t step) {
  accuracy_.erase(accuracy_.lower_bound(step), accuracy_.end());
}

void JobCheckpoints::ChooseBest() {
  if (!options_.keep_best) return;
  for (const auto& [step, checkpoint] : saved_) {
    const auto judged = accuracy_.find(step);
    if (judged == accuracy_.end() || checkpoint.path.empty()) continue;
    if (best_.step >= 0 && judged->second <= best_accuracy_) continue;
    best_ = checkpoint;
    best_accuracy_ = judged->second;
  }
}

absl::StatusOr<SavedCheckpoint> JobCheckpoints::Find(const v1::RollBackJobRequest& request) const {
  if (request.to_case() == v1::RollBackJobRequest::TO_NOT_SET) {
    return absl::InvalidArgumentError("neither a version nor a checkpoint is named");
  }
  const bool by_version = request.has_version();
  const int64_t step =
      by_version ? request.version() * options_.publish_every : request.checkpoint_step();
  if (auto it = saved_.find(step); it != saved_.end()) return it->second;
  if (step == 0) return SavedCheckpoint{.step = 0, .folder_step = 0, .path = "", .registered = {}};
  if (best_.step == step && step >= 0) return best_;
  const std::string there = absl::StrJoin(
      saved_, ", ", [](std::string* out, const auto& each) { absl::StrAppend(out, each.first); });
  return absl::FailedPreconditionError(absl::StrCat(
      by_version ? absl::StrCat("version ", request.version(), " is of step ", step, ": ") : "",
      "there is no checkpoint of step ", step, "; there are those of step ",
      there.empty() ? "none" : there, ", and 0, the base model"));
}

void JobCheckpoints::RollBackTo(const SavedCheckpoint& target, absl::Time now) {
  const int64_t step = newest().step;
  // Before the first checkpoint every attempt begins with the base model.
  if (target.step != step && step >= 0) {
    const auto known = accuracy_.find(target.step);
    const std::optional<double> accuracy =
        known == accuracy_.end() ? std::nullopt : std::optional<double>(known->second);
    ForgetEvaluationsFrom(step);
    if (accuracy.has_value()) accuracy_[step] = *accuracy;
    saved_[step] = {
        .step = step, .folder_step = target.folder_step, .path = target.path, .registered = now};
  }
  without_better_ = 0;
  stop_.clear();
}

const SavedCheckpoint& JobCheckpoints::newest() const {
  static const SavedCheckpoint* const kNone = new SavedCheckpoint;
  return saved_.empty() ? *kNone : saved_.rbegin()->second;
}

std::vector<SavedCheckpoint> JobCheckpoints::All() const {
  std::vector<SavedCheckpoint> all;
  for (const auto& [step, checkpoint] : saved_) all.push_back(checkpoint);
  return all;
}

std::vector<int64_t> JobCheckpoints::KeptFolders() const {
  std::set<int64_t> folders;
  for (const auto& [step, checkpoint] : saved_) folders.insert(checkpoint.folder_step);
  if (best_.step >= 0) folders.insert(best_.folder_step);
  return {folders.begin(), folders.end()};
}

v1::CheckpointRecord ToRecord(const SavedCheckpoint& checkpoint) {
  v1::CheckpointRecord record;
  record.set_step(checkpoint.step);
  record.set_path(checkpoint.path);
  record.set_unix_ms(absl::ToUnixMillis(checkpoint.registered));
  return record;
}

}  // namespace dtrpo::coordinator
