// The part of JobRun that counts what the rollouts' answers were worth.
#include <algorithm>

#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {
namespace {

constexpr size_t kRewardPrompts = 100;
constexpr int kReasons = 16;
constexpr char kOtherReasons[] = "other reasons";

void CountFailure(const std::string& reason, int64_t answers, v1::RewardCounts& counts) {
  auto& failures = *counts.mutable_failures();
  const auto find = [&failures](const std::string& text) {
    return std::find_if(failures.begin(), failures.end(),
                        [&text](const v1::RewardFailure& f) { return f.reason() == text; });
  };
  auto found = find(reason);
  if (found == failures.end() && failures.size() >= kReasons) found = find(kOtherReasons);
  if (found == failures.end()) {
    v1::RewardFailure& added = *failures.Add();
    added.set_reason(failures.size() > kReasons ? kOtherReasons : reason);
    added.set_answers(answers);
  } else {
    found->set_answers(found->answers() + answers);
  }
}

void CountFailures(const v1::PromptResult& result, v1::RewardCounts& counts) {
  if (result.failed_samples() == 0) return;
  counts.set_failed_answers(counts.failed_answers() + result.failed_samples());
  counts.set_last_failure(result.sample_error());
  int64_t told = 0;
  for (const v1::RewardFailure& failure : result.failures()) {
    CountFailure(failure.reason(), failure.answers(), counts);
    told += failure.answers();
  }
  // A rollout of an older release tells one reason.
  if (told == 0) CountFailure(result.sample_error(), result.failed_samples(), counts);
}

}  // namespace

void JobRun::CountTraining(const v1::PromptResult& result, absl::Time now) {
  const bool judged =
      result.outcome() == v1::PromptResult::STORED || result.outcome() == v1::PromptResult::NO_PAIR;
  const bool counts = judged || result.outcome() == v1::PromptResult::FAILED;
  if (!counts || !counted_leases_.Add(result.lease_id())) return;
  CountFailures(result, rewards_);
  if (!judged) return;
  tokens_ += result.tokens();
  samples_ += result.samples();
  tokens_rate_.Add(now, static_cast<double>(result.tokens()));
  if (result.samples() == 0) return;

  const auto one_if = [](bool condition) { return condition ? 1 : 0; };
  rewards_.set_prompts(rewards_.prompts() + 1);
  rewards_.set_without_pair(rewards_.without_pair() +
                            one_if(result.outcome() == v1::PromptResult::NO_PAIR));
  rewards_.set_all_right(rewards_.all_right() + one_if(result.right_samples() == result.samples()));
  rewards_.set_all_wrong(rewards_.all_wrong() + one_if(result.right_samples() == 0));
  ledger_.CountAnswers({result.epoch(), result.prompt_index()}, result.right_samples(),
                       result.samples());
  recent_rewards_.emplace_back(result.reward_sum(), result.samples());
  if (recent_rewards_.size() > kRewardPrompts) recent_rewards_.pop_front();
}

double JobRun::RewardMean() const {
  double reward_sum = 0;
  int64_t samples = 0;
  for (const auto& [sum, count] : recent_rewards_) {
    reward_sum += sum;
    samples += count;
  }
  return samples == 0 ? 0 : reward_sum / static_cast<double>(samples);
}

v1::RewardCounts JobRun::Rewards() const {
  v1::RewardCounts counts = rewards_;
  counts.set_left_out(ledger_.counts().left_out);
  return counts;
}

void JobRun::ShowRewards(const CoordinatorMetrics& metrics) const {
  metrics.Set(id_, CoordinatorMetrics::kReward, RewardMean());
  const v1::RewardCounts counts = Rewards();
  metrics.Set(id_, CoordinatorMetrics::kFailedAnswers,
              static_cast<double>(counts.failed_answers()));
  metrics.SetPrompts(id_, "left_out", static_cast<double>(counts.left_out()));
  if (counts.prompts() == 0) return;
  const std::pair<const char*, int64_t> shares[] = {
      {CoordinatorMetrics::kNoPairShare, counts.without_pair()},
      {CoordinatorMetrics::kAllRightShare, counts.all_right()},
      {CoordinatorMetrics::kAllWrongShare, counts.all_wrong()}};
  for (const auto& [name, count] : shares) {
    metrics.Set(id_, name, static_cast<double>(count) / static_cast<double>(counts.prompts()));
  }
}

}  // namespace dtrpo::coordinator
