// What an import of data.pairs needs of the services. Implementations are thread-safe. Every call
// has a deadline, may wait until then, and is idempotent.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/wire/replay_client.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::learner {

class PairPeers {
 public:
  virtual ~PairPeers() = default;

  // RESOURCE_EXHAUSTED "replay_full": no room now.
  virtual absl::Status Insert(const wire::PromptOutcome& outcome, absl::Time deadline) = 0;
  // The job is filled in.
  virtual absl::StatusOr<v1::ReportPairsResponse> ReportPairs(v1::ReportPairsRequest request,
                                                              absl::Time deadline) = 0;
};

}  // namespace dtrpo::learner
