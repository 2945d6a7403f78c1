#include "services/reference/reference_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/wire/assigned_job.h"
#include "common/wire/job_codec.h"

namespace dtrpo::reference {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(200);
constexpr absl::Duration kAfterFailure = absl::Seconds(2);

}  // namespace

ReferenceWorker::ReferenceWorker(v1::RegisterWorkerRequest registration, ReferenceScorer* scorer,
                                 wire::WorkerClient* coordinator, base::Clock* clock,
                                 base::WaitStateRegistry* waits,
                                 std::vector<std::string> data_roots)
    : scorer_(scorer), clock_(clock), data_roots_(std::move(data_roots)) {
  SetState("", "idle");
  agent_ = std::make_unique<wire::WorkerAgent>(
      wire::WorkerAgent::Options{
          .registration = std::move(registration),
          .report =
              [this] {
                absl::MutexLock lock(&mutex_);
                return report_;
              },
          .on_assignment = nullptr,
      },
      coordinator, clock, waits);
}

ReferenceWorker::~ReferenceWorker() { Stop(); }

void ReferenceWorker::Stop() { stop_.Stop(); }

void ReferenceWorker::SetState(std::string job_id, std::string state) {
  absl::MutexLock lock(&mutex_);
  report_.version = job_id.empty() ? -1 : 0;
  report_.job_id = std::move(job_id);
  report_.state = std::move(state);
}

void ReferenceWorker::Load(const v1::Assignment& assignment) {
  const std::string& job_id = assignment.job().job_id();
  if (job_id == loaded_) return;
  loaded_.clear();
  SetState("", absl::StrCat("loading the model of job ", job_id));
  const absl::StatusOr<job::JobSpec> spec = wire::AssignedJob(assignment, data_roots_);
  const absl::Status status = spec.ok() ? scorer_->Load(job_id, spec->model) : spec.status();
  if (status.ok()) {
    loaded_ = job_id;
    return SetState(job_id, "ready");
  }
  SetState("", absl::StrCat("can't work on the job: ", status.message()));
  base::LogError("can't work on the job", {{"job", job_id}, {"error", status}});
  stop_.SleepFor(*clock_, kAfterFailure);
}

void ReferenceWorker::Run() {
  while (!stop_.SleepFor(*clock_, kLookAgain)) {
    const v1::Assignment assignment = agent_->assignment();
    const std::string wanted = wire::IsFinal(assignment.state()) ? "" : assignment.job().job_id();
    if (!wanted.empty()) {
      Load(assignment);
    } else if (!loaded_.empty()) {
      scorer_->Unload();
      loaded_.clear();
      SetState("", "idle");
    }
  }
}

}  // namespace dtrpo::reference
