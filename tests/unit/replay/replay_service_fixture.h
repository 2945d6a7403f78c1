// A replay service over a real connection, with the client that the other services use. Not
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/unary_call.h"
#include "common/storage/memory_engine.h"
#include "common/wire/replay_client.h"
#include "common/wire/trajectory_codec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/replay/replay_service.h"
#include "tests/unit/replay/test_pair.h"

namespace dtrpo::replay {

inline constexpr char kJob[] = "add-1";

inline v1::ReplayJobOptions Options() {
  v1::ReplayJobOptions options;
  options.set_pairs_per_batch(2);
  options.set_publish_every(1);
  options.set_max_staleness(1);
  options.set_max_pairs_per_prompt(2);
  options.set_total_steps(100);
  options.set_checkpoint_every(5);
  return options;
}

class ReplayServiceTest : public ::testing::Test {
 protected:
  ReplayServiceTest()
      : metrics_(&registry_),
        store_({.engine = &engine_, .metrics = &metrics_}),
        service_(&store_),
        server_(*rpc::RpcServer::Start({}, {&service_})) {
    Connect({});
  }

  void Connect(rpc::FaultOptions faults) {
    factory_ = std::make_unique<rpc::ChannelFactory>(
        rpc::ChannelOptions{.identity = {.role = "rollout"}, .faults = std::move(faults)});
    channel_ = *factory_->Create(server_->address().ToString());
    wire::ClientOptions options;
    options.target = "replay";
    options.retry.initial_backoff = absl::Milliseconds(1);
    client_ = *wire::MakeReplayClient({channel_}, options);
  }

  absl::Time Soon() const { return absl::Now() + absl::Seconds(20); }
  absl::Time VerySoon() const { return absl::Now() + absl::Milliseconds(300); }

  absl::StatusOr<wire::InsertResult> Insert(int64_t prompt, int pairs, int64_t version = 0) {
    wire::PromptOutcome outcome;
    outcome.prompt_index = prompt;
    for (int i = 0; i < pairs; ++i) {
      outcome.pairs.push_back(TestPair(absl::StrCat(kJob, "/0/", prompt, "/0/p", i), version));
    }
    return client_->Insert({kJob}, outcome, Soon());
  }

  // What no well-behaved client sends.
  absl::Status InsertRaw(const v1::InsertRequest& request) {
    auto stub = v1::ReplayService::NewStub(channel_);
    return rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::Insert, request,
                          {.deadline = Soon()})
        .status();
  }

  base::FakeMetrics registry_;
  storage::MemoryEngine engine_;
  ReplayMetrics metrics_;
  ReplayStore store_;
  ReplayService service_;
  std::unique_ptr<rpc::RpcServer> server_;
  std::unique_ptr<rpc::ChannelFactory> factory_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<wire::ReplayClient> client_;
};

}  // namespace dtrpo::replay
