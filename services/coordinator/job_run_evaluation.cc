// The part of JobRun that a job of kind eval has instead of training.
#include "absl/strings/str_cat.h"
#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {

bool JobRun::HasResults() const {
  return OnlyEvaluates() && state() == JobState::kRunning &&
         evaluations_.outcome(0) == Evaluations::Outcome::kComplete;
}

EvaluationResults JobRun::Results() const {
  return {.folder = spec_.output,
          .settings = ResultSettings(id_, spec_, heldout_),
          .answers = evaluations_.Answers(),
          .timing = evaluations_.Timings()};
}

void JobRun::AdvanceEvaluation(const WorkerRegistry& workers, absl::Time now) {
  if (!HasResults()) return Explain(Missing(workers, now), now);
  if (evaluations_.Find(0)->total() > 0) return Explain("writing the results", now);
  job_.Fail(absl::StrCat("no question could be answered: ", last_prompt_error_));
  End(now);
}

void JobRun::OnResultsWritten(const absl::Status& status, absl::Time now) {
  if (!HasResults()) return;
  const v1::EvaluationRecord& record = *evaluations_.Find(0);
  if (!status.ok()) {
    job_.Fail(absl::StrCat("output: the results can't be written: ", status.message()));
  } else {
    job_.Succeed(record.failed() == 0
                     ? ""
                     : absl::StrCat(record.failed(), " of ", record.prompts(),
                                    " questions failed; last error: ", last_prompt_error_));
  }
  evaluations_.ForgetAnswers();
  End(now);
}

}  // namespace dtrpo::coordinator
