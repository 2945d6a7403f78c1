// Thread safety: clients may be used from many threads at once.
//
// The reference service as the learner sees it: log-probabilities, under the frozen weights of
// version 0, of exactly the states that the mask plan names.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"
#include "common/wire/client_options.h"

namespace dtrpo::wire {

struct ScoreItem {
  const trajectory::Trajectory* trajectory;  // not owned; for the time of the call
  int32_t use_index = 0;
};

class ReferenceClient {
 public:
  virtual ~ReferenceClient() = default;

  // Per item, in order: the log-probabilities of its plan's targets in plan order (mask_plan.h).
  // `reference_sha256` empty: whatever weights are loaded. DATA_LOSS when the answer doesn't fit
  // the question.
  virtual absl::StatusOr<std::vector<std::vector<float>>> Score(
      const JobAttempt& job, const trajectory::MaskPlanOptions& plan,
      absl::Span<const ScoreItem> items, const std::string& reference_sha256,
      absl::Time deadline) = 0;
};

std::unique_ptr<ReferenceClient> MakeReferenceClient(const std::shared_ptr<grpc::Channel>& channel,
                                                     ClientOptions options);

}  // namespace dtrpo::wire
