#include "tools/dtrpoctl/rollout_caller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tools/dtrpoctl/display.h"

namespace dtrpo::ctl {
namespace {

// Another rollout may do what this one doesn't: it is free, holds the version, is there at all.
bool AnotherMayAnswer(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> RolloutCaller::Addresses() const {
  if (!address_.empty()) return std::vector<std::string>{address_};
  const absl::Time deadline = session_.clock->Now() + session_.timeout;
  DTRPO_ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers,
                         session_.client->ListWorkers(deadline));
  std::vector<const v1::WorkerStatus*> rollouts;
  for (const v1::WorkerStatus& worker : workers.workers()) {
    if (worker.role() != "rollout" || worker.job_id().empty()) continue;
    if (job_id_.empty() || worker.job_id() == job_id_) rollouts.push_back(&worker);
  }
  std::stable_sort(rollouts.begin(), rollouts.end(),
                   [](const auto* a, const auto* b) { return a->version() > b->version(); });
  std::vector<std::string> addresses;
  for (const v1::WorkerStatus* rollout : rollouts) addresses.push_back(rollout->address());
  if (!addresses.empty()) return addresses;
  if (job_id_.empty()) {
    return absl::FailedPreconditionError(
        "no rollout works on a job; `dtrpoctl workers` shows what they do");
  }
  DTRPO_ASSIGN_OR_RETURN(const v1::JobStatus job,
                         session_.client->Get(job_id_, /*include_steps=*/false, deadline));
  return absl::FailedPreconditionError(absl::StrCat(
      "no rollout works on job ", job_id_, ", which is ", StateWord(job.state()),
      job.checkpoint().empty() ? "" : "; its newest checkpoint is ", job.checkpoint()));
}

absl::Status RolloutCaller::Generate(const v1::GenerateRequest& request,
                                     const wire::GenerateClient::OnMessage& on_message,
                                     absl::Time deadline) {
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> addresses, Addresses());
  absl::Status status;
  for (const std::string& address : addresses) {
    DTRPO_ASSIGN_OR_RETURN(const auto client, dial_(address));
    bool begun = false;
    const auto noting = [&](const v1::GenerateResponse& response) {
      begun = true;
      return on_message(response);
    };
    status = base::Annotate(client->Generate(request, noting, deadline), "rollout ", address);
    if (status.ok() || begun || !AnotherMayAnswer(status)) break;
  }
  return status;
}

}  // namespace dtrpo::ctl
