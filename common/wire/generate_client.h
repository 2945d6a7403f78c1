// Thread safety: clients may be used from many threads at once.
//
// A rollout as those see it who talk to its policy (GenerateService). The messages are the
// protocol's own: they are what a client shows.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/generate.pb.h"

namespace dtrpo::wire {

class GenerateClient {
 public:
  virtual ~GenerateClient() = default;

  // Calls `on_message` with each message as it comes; OK after the summary, CANCELLED when
  // `on_message` returned false. Not retried: half an answer was perhaps shown already.
  using OnMessage = std::function<bool(const v1::GenerateResponse&)>;
  virtual absl::Status Generate(const v1::GenerateRequest& request, const OnMessage& on_message,
                                absl::Time deadline) = 0;
};

std::unique_ptr<GenerateClient> MakeGenerateClient(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace dtrpo::wire
