// The part of JobRun that deals with data.pairs: what the learner imports, and how much the prompts
// have to bring beside it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {

absl::StatusOr<v1::ReportPairsResponse> JobRun::ReportPairs(const v1::ReportPairsRequest& request,
                                                            absl::Time now) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (!pairs_.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("job ", id_, " has no data.pairs"));
  }
  v1::ReportPairsResponse response;
  if (request.has_file()) {
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(pairs_->Begin(request.file(), request.fingerprint()), "job ", id_));
    base::LogInfo("pairs read", {{"job", id_},
                                 {"usable", request.file().usable()},
                                 {"held_out", request.file().held_out()},
                                 {"rejected", request.file().rejected()}});
  }
  if (request.all_imported() && !pairs_->all_imported()) {
    pairs_->AllImported();
    base::LogInfo("all pairs are imported", {{"job", id_}});
  }
  if (request.has_evaluation()) {
    v1::PairEvaluation& evaluation = pair_evaluations_[request.evaluation().step()];
    evaluation = request.evaluation();
    if (evaluation.unix_ms() == 0) evaluation.set_unix_ms(absl::ToUnixMillis(now));
  }
  pairs_->Fill(&response);
  Changed();
  return response;
}

void JobRun::OnPairEvent(const v1::PromptEvent& event) {
  if (!pairs_.has_value()) return;
  const int64_t epoch = event.prompt().epoch();
  const int64_t index = event.prompt().prompt_index() - job::kFirstExternalPrompt;
  switch (event.kind()) {
    case v1::PromptEvent::STORED:
      return pairs_->OnStored(epoch, index);
    case v1::PromptEvent::CONSUMED:
      return pairs_->OnConsumed(epoch, index);
    case v1::PromptEvent::EVICTED:
      return pairs_->OnEvicted(epoch, index);
    default:
      base::LogWarning("unknown event of a pair",
                       {{"job", id_}, {"kind", static_cast<int>(event.kind())}});
  }
}

int64_t JobRun::AdmittedPairs() const {
  if (!pairs_.has_value() || !pairs_->all_imported()) {
    return job::AdmittedPairs(spec_, versions_.newest());
  }
  return job::AdmittedPairs(spec_, versions_.newest(), pairs_->counts().imported());
}

// The two kinds share one mark: the slower one keeps the keys of both.
int64_t JobRun::OldestLiveEpoch() const {
  if (!pairs_.has_value()) return ledger_.OldestLiveEpoch();
  if (spec_.data.prompts.empty()) return pairs_->OldestLiveEpoch();
  return std::min(ledger_.OldestLiveEpoch(), pairs_->OldestLiveEpoch());
}

}  // namespace dtrpo::coordinator
