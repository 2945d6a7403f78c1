#include "common/dtrpo/step_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/dtrpo/plan_weights.h"

namespace dtrpo::objective {
namespace {

using trajectory::BlockPlan;
using trajectory::MaskPlan;
using trajectory::Trajectory;

constexpr char kDrawVariance[] = "draw_variance";

double SampleVariance(double sum, double squares, int64_t count) {
  if (count < 2) return 0;
  const double n = static_cast<double>(count);
  return std::max(0.0, (squares - sum * sum / n) / (n - 1));
}

constexpr int64_t kEndless = std::numeric_limits<int64_t>::max();

// The variance that drawing adds to R: `terms` were drawn without replacement from `states` states,
// or independently where that is kEndless.
double DrawVariance(int64_t states, const std::vector<double>& terms) {
  const double k = static_cast<double>(terms.size());
  double sum = 0, squares = 0;
  for (const double term : terms) {
    sum += term;
    squares += term * term;
  }
  return k * SampleVariance(sum, squares, static_cast<int64_t>(terms.size())) *
         (1 - k / static_cast<double>(std::max<int64_t>(states, 1)));
}

// The parts of R that were drawn independently of each other: a state each, or antithetic pairs.
std::vector<double> IndependentTerms(const std::vector<double>& of_states, bool antithetic) {
  std::vector<double> terms;
  for (size_t k = 0; k < of_states.size(); ++k) {
    if (antithetic && k % 2 == 1) {
      terms.back() += of_states[k];
    } else {
      terms.push_back(of_states[k]);
    }
  }
  return terms;
}

bool MadeBy(const Trajectory& t, int64_t version) {
  return !t.external && !t.weights_version.empty() &&
         std::all_of(t.weights_version.begin(), t.weights_version.end(),
                     [version](int64_t v) { return v == version; });
}

}  // namespace

void StepStatistics::AddAnswer(const Trajectory& t, const MaskPlan& plan, const std::string& side,
                               double log_ratio, absl::Span<const double> policy,
                               absl::Span<const double> reference) {
  const std::vector<PlannedTarget> targets = PlannedTargets(plan);
  DTRPO_CHECK(policy.size() == targets.size() && reference.size() == targets.size());
  const std::vector<double> weights =
      RatioWeights(plan, objective_.weighting, objective_.length_normalised);
  const bool own = weights_are_version_ && MadeBy(t, policy_version_);
  std::vector<double> per_block(plan.blocks.size());
  std::vector<std::vector<double>> terms(plan.blocks.size());  // per block and drawn state
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    terms[b].resize(std::count_if(plan.blocks[b].states.begin(), plan.blocks[b].states.end(),
                                  [](const auto& state) { return state.weight > 0; }));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    const double term = weights[i] * (policy[i] - reference[i]);
    per_block[targets[i].block] += term;
    // Behaviour states are behind the others, and no part of R.
    std::vector<double>& of_block = terms[targets[i].block];
    if (targets[i].state != kFirstTokenState && targets[i].state < std::ssize(of_block)) {
      of_block[targets[i].state] += term;
    }
    if (own && IsOfSampledState(plan, targets[i])) {
      means_["mismatch"].Add(std::abs(policy[i] - t.behaviour_logprob[targets[i].index]));
    }
  }
  double variance = 0;
  for (size_t b = 0; b < plan.blocks.size();) {
    int64_t states = 0;
    std::vector<double> drawn;
    for (const BlockPlan& block : DrawnTogether(plan, static_cast<int64_t>(b))) {
      // Of one target there is only one mask.
      states += HoldsSampledStates(plan.kind) || block.target_tokens < 2 ? block.steps : kEndless;
      const std::vector<double> independent = IndependentTerms(terms[b], plan.antithetic);
      drawn.insert(drawn.end(), independent.begin(), independent.end());
      ++b;
    }
    variance += DrawVariance(states, drawn);
    if (drawn.size() == 1 && states > 1) drawn_once_ = true;
  }
  for (size_t b = 0; b < plan.blocks.size() && b < size_t{kReportedBlocks}; ++b) {
    means_[absl::StrCat("log_ratio_", side, "_block_", b)].Add(per_block[b]);
  }
  means_[kDrawVariance].Add(variance);
  means_["log_ratio_" + side].Add(log_ratio);
  means_["reward_" + side].Add(t.reward);
  if (const int64_t version = trajectory::OldestVersion(t); version >= 0) {
    const double lag = static_cast<double>(std::max<int64_t>(policy_version_ - version, 0));
    means_["staleness"].Add(lag);
    staleness_max_ = std::max(staleness_max_, lag);
  }
}

void StepStatistics::Add(absl::Span<const PairInput> pairs, absl::Span<const PairTerms> terms,
                         absl::Span<const double> policy, absl::Span<const double> reference) {
  DTRPO_CHECK_EQ(pairs.size(), terms.size());
  size_t offset = 0;
  const auto add = [&](const Trajectory& t, const MaskPlan& plan, const std::string& side,
                       double log_ratio) {
    const size_t count = static_cast<size_t>(plan.target_count);
    AddAnswer(t, plan, side, log_ratio, policy.subspan(offset, count),
              reference.subspan(offset, count));
    offset += count;
  };
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PairTerms& pair = terms[i];
    add(pairs[i].pair->chosen, *pairs[i].chosen_plan, "chosen", pair.log_ratio_chosen);
    add(pairs[i].pair->rejected, *pairs[i].rejected_plan, "rejected", pair.log_ratio_rejected);
    const bool sft = objective_.sft_weight > 0;
    means_["loss"].Add(pair.preference_loss + (sft ? objective_.sft_weight * pair.sft_loss : 0));
    means_["preference_loss"].Add(pair.preference_loss);
    means_["sft_loss"].Add(pair.sft_loss);
    means_["margin"].Add(pair.margin);
    means_["accuracy"].Add(pair.margin > 0 ? 1 : 0);
    means_["rho"].Add(pair.rho);
  }
  DTRPO_CHECK(offset == policy.size() && offset == reference.size());
  pairs_ += static_cast<int64_t>(pairs.size());
  target_tokens_ += static_cast<int64_t>(offset);
}

std::map<std::string, double> StepStatistics::Values() const {
  std::map<std::string, double> values;
  values["pairs"] = static_cast<double>(pairs_);
  values["target_tokens"] = static_cast<double>(target_tokens_);
  if (pairs_ == 0) return values;
  for (const auto& [name, mean] : means_) {
    if (name != kDrawVariance) values[name] = mean.sum / static_cast<double>(mean.count);
  }
  values["staleness_max"] = staleness_max_;
  if (drawn_once_) {
    double variance = 0;
    for (const char* side : {"log_ratio_chosen", "log_ratio_rejected"}) {
      const Mean& ratio = means_.at(side);
      variance += SampleVariance(ratio.sum, ratio.squares, ratio.count) / 2;
    }
    values["estimator_variance"] = variance;
  } else {
    const Mean& variance = means_.at(kDrawVariance);
    values["estimator_variance"] = variance.sum / static_cast<double>(variance.count);
  }
  return values;
}

// A line of counts, then a line per mean; numbers in hexadecimal, so that nothing is rounded.
std::string StepStatistics::Encode() const {
  std::string encoded = absl::StrFormat("%d %d %a %d\n", pairs_, target_tokens_, staleness_max_,
                                        static_cast<int>(drawn_once_));
  for (const auto& [name, mean] : means_) {
    absl::StrAppendFormat(&encoded, "%s %a %a %d\n", name, mean.sum, mean.squares, mean.count);
  }
  return encoded;
}

void StepStatistics::Clear() {
  means_.clear();
  pairs_ = target_tokens_ = 0;
  staleness_max_ = 0;
  drawn_once_ = false;
}

absl::Status StepStatistics::Merge(absl::string_view encoded) {
  bool first = true;
  for (const absl::string_view line : absl::StrSplit(encoded, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    int64_t a = 0, b = 0;
    double x = 0, y = 0;
    const auto number = [](const std::string& word, double* value) {
      char* end = nullptr;
      *value = std::strtod(word.c_str(), &end);
      return !word.empty() && *end == '\0';
    };
    if (words.size() == 4 && first && absl::SimpleAtoi(words[0], &a) &&
        absl::SimpleAtoi(words[1], &b) && number(words[2], &x)) {
      pairs_ += a;
      target_tokens_ += b;
      staleness_max_ = std::max(staleness_max_, x);
      drawn_once_ = drawn_once_ || words[3] == "1";
    } else if (words.size() == 4 && !first && number(words[1], &x) && number(words[2], &y) &&
               absl::SimpleAtoi(words[3], &a)) {
      Mean& mean = means_[words[0]];
      mean.sum += x;
      mean.squares += y;
      mean.count += a;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("statistics of a step: line '", line, "'"));
    }
    first = false;
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::objective
