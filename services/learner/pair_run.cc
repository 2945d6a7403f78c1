#include "services/learner/pair_run.h"

#include <algorithm>
#include <utility>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/training/heldout_preferences.h"

namespace dtrpo::learner {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(500);
constexpr size_t kPairsPerCall = 8;

}  // namespace

PairRun::PairRun(const PairImporter::Options& options, const PairImporter::Deps& deps,
                 LearnerPeers* reference)
    : spec_(options.spec),
      peers_(deps.peers),
      reference_(reference),
      clock_(deps.clock),
      importer_(options, deps) {}

absl::Status PairRun::ScoreByReference(absl::Span<const trajectory::PreferencePair> heldout,
                                       const trajectory::MaskPlanOptions& plan,
                                       const Persist& persist) {
  while (reference_scores_.size() < 2 * heldout.size()) {
    wire::Batch batch;
    for (const trajectory::PreferencePair& pair :
         heldout.subspan(reference_scores_.size() / 2, kPairsPerCall)) {
      batch.items.push_back({.pair = pair});
    }
    std::vector<std::vector<float>> scores;
    DTRPO_RETURN_IF_ERROR(persist("reference scores of held-out pairs", "reference",
                                  [&](absl::Time deadline) -> absl::Status {
                                    DTRPO_ASSIGN_OR_RETURN(
                                        scores, reference_->Score(batch, plan, deadline));
                                    return absl::OkStatus();
                                  }));
    if (scores.size() != 2 * batch.items.size()) {
      return absl::InternalError("the reference answered for another number of held-out pairs");
    }
    for (std::vector<float>& of_answer : scores) reference_scores_.push_back(std::move(of_answer));
  }
  return absl::OkStatus();
}

absl::Status PairRun::Evaluate(const model::Transformer& policy,
                               const trajectory::MaskPlanOptions& plan, int64_t step,
                               const Persist& persist, const std::function<bool()>& leaving) {
  if (step == evaluated_step_ || spec_.data.pairs_heldout == 0) return absl::OkStatus();
  absl::StatusOr<absl::Span<const trajectory::PreferencePair>> heldout;
  do {
    heldout = importer_.HeldOut(clock_->Now() + kLookAgain);
    if (leaving()) return absl::OkStatus();
  } while (absl::IsDeadlineExceeded(heldout.status()));
  DTRPO_RETURN_IF_ERROR(heldout.status());
  evaluated_step_ = step;
  if (heldout->empty()) return absl::OkStatus();
  const trajectory::MaskPlanOptions scored =
      training::HeldOutPlan(plan, policy.descriptor().attention);
  DTRPO_RETURN_IF_ERROR(ScoreByReference(*heldout, scored, persist));
  DTRPO_ASSIGN_OR_RETURN(const training::HeldOutPreferences now,
                         training::EvaluatePreferences(
                             policy, *heldout, scored, spec_.objective,
                             [&](size_t first, absl::Span<const objective::ScoreInput> inputs) {
                               const auto begin =
                                   reference_scores_.begin() + static_cast<int64_t>(2 * first);
                               return std::vector<std::vector<float>>(
                                   begin, begin + static_cast<int64_t>(inputs.size()));
                             }));
  v1::ReportPairsRequest request;
  v1::PairEvaluation* evaluation = request.mutable_evaluation();
  evaluation->set_step(step);
  evaluation->set_pairs(now.pairs);
  evaluation->set_loss(now.loss);
  evaluation->set_margin(now.margin);
  evaluation->set_accuracy(now.accuracy);
  evaluation->set_chosen_likelier(now.chosen_likelier);
  base::LogInfo("held-out pairs", {{"step", step},
                                   {"pairs", now.pairs},
                                   {"margin", now.margin},
                                   {"accuracy", now.accuracy},
                                   {"chosen_likelier", now.chosen_likelier}});
  return persist("report of held-out pairs", "coordinator", [&](absl::Time deadline) {
    return peers_->ReportPairs(request, deadline).status();
  });
}

}  // namespace dtrpo::learner
