// Not thread-safe: one command per process.
//
// Finds the rollouts that can answer, through the coordinator unless one is named, and asks them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/wire/generate_client.h"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

class RolloutCaller {
 public:
  using Dial = std::function<absl::StatusOr<std::unique_ptr<wire::GenerateClient>>(
      const std::string& address)>;

  // `job_id` empty: any job. `address` empty: those that the coordinator knows to work on the job.
  RolloutCaller(const Session& session, Dial dial, std::string job_id, std::string address)
      : session_(session),
        dial_(std::move(dial)),
        job_id_(std::move(job_id)),
        address_(std::move(address)) {}

  // Asks one rollout after the other, those with the newest weights first, until one begins to
  // answer. The last one's refusal, with its address, when none does.
  absl::Status Generate(const v1::GenerateRequest& request,
                        const wire::GenerateClient::OnMessage& on_message, absl::Time deadline);

 private:
  absl::StatusOr<std::vector<std::string>> Addresses() const;

  const Session& session_;
  const Dial dial_;
  const std::string job_id_;
  const std::string address_;
};

}  // namespace dtrpo::ctl
