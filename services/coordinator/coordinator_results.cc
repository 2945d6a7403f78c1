// The part of Coordinator that writes the results of jobs of kind eval.

#include <string>

#include "services/coordinator/coordinator.h"
#include "services/coordinator/coordinator_operation.h"
#include "services/coordinator/evaluation_results.h"

namespace dtrpo::coordinator {

// A process that dies in between writes again, and finds what it wrote before.
void Coordinator::WriteResults() {
  std::string job_id;
  EvaluationResults results;
  {
    absl::MutexLock lock(&mutex_);
    const JobRun* head = Head();
    if (head == nullptr || !head->HasResults()) return;
    job_id = head->id();
    results = head->Results();
  }
  OnResultsWritten(job_id, WriteRun(results, deps_.files));
}

void Coordinator::OnResultsWritten(const std::string& job_id, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(job_id);
  if (!job.ok()) return;
  Operation operation(this, OperationKind::kResultsWritten, job_id);
  operation.logged().number = static_cast<int64_t>(status.code());
  operation.logged().text = std::string(status.message());
  (*job)->OnResultsWritten(status, operation.now());
  TickLocked(operation.now());
}

}  // namespace dtrpo::coordinator
