// Thread safety: clients may be used from many threads at once.
//
// Whole weights versions over the network, in the frames of proto/dtrpo/v1/weights.proto. Push is
// what the learner does to rollouts; Fetch is what a rollout that joined late does to the learner.
// A failed transfer leaves nothing behind.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/weights/image.h"
#include "common/wire/client_options.h"

namespace dtrpo::wire {

struct PushResult {
  int64_t serving_version = 0;
  bool already_held = false;  // the chunks needn't have been sent
};

class WeightsClient {
 public:
  virtual ~WeightsClient() = default;

  // Broken transfers are begun again until the deadline.
  virtual absl::StatusOr<PushResult> Push(const JobAttempt& job, const weights::Image& image,
                                          absl::Time deadline) = 0;
};

// REQUIRES: options.retry.attempt_timeout is longer than a transfer takes; MakeWeightsClient raises
// it to the call's deadline.
std::unique_ptr<WeightsClient> MakeWeightsClient(const std::shared_ptr<grpc::Channel>& channel,
                                                 ClientOptions options);

}  // namespace dtrpo::wire
