// The typed clients over a real connection, against services that answer as a test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/crc32c.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/serve.h"
#include "common/wire/reference_client.h"
#include "common/wire/replay_client.h"
#include "common/wire/trajectory_codec.h"
#include "common/wire/weights_client.h"
#include "common/wire/weights_codec.h"
#include "proto/dtrpo/v1/reference.grpc.pb.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"
#include "proto/dtrpo/v1/weights.grpc.pb.h"
#include "tests/support/random_trajectory.h"

namespace dtrpo::wire {
namespace {

using testing::HasSubstr;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

trajectory::PreferencePair Pair() {
  trajectory::PreferencePair pair;
  pair.id = "add-1/0/0/0/p0";
  pair.chosen = support::RandomTrajectory({}, 1);
  pair.rejected = support::RandomTrajectory({}, 2);
  pair.rejected.prompt_tokens = pair.chosen.prompt_tokens;
  return pair;
}

class FakeReplay : public v1::ReplayService::Service {
 public:
  grpc::Status Insert(grpc::ServerContext* context, const v1::InsertRequest* request,
                      v1::InsertResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall& call) {
      ++calls;
      insert = *request;
      last_call = call;
      response->set_duplicate(calls > 1);
      return calls <= failures ? failure : absl::OkStatus();
    });
  }
  grpc::Status GetBatch(grpc::ServerContext* context, const v1::GetBatchRequest* request,
                        v1::GetBatchResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      ++calls;
      if (calls <= failures) return failure;
      response->set_batch(request->batch());
      response->set_policy_version(request->batch() - 1);
      response->set_global_pairs(1);
      response->set_last(true);
      v1::BatchItem* item = response->add_items();
      ToProto(Pair(), item->mutable_pair());
      item->set_use_index(2);
      item->set_lag_versions(1);
      if (spoil) item->mutable_pair()->mutable_chosen()->clear_prompt_tokens();
      return absl::OkStatus();
    });
  }

  int calls = 0;
  int failures = 0;  // the first so many calls fail
  absl::Status failure = absl::UnavailableError("restarting");
  bool spoil = false;
  v1::InsertRequest insert;
  rpc::IncomingCall last_call;
};

class FakeReference : public v1::ReferenceService::Service {
 public:
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      for (const v1::ScoreItem& item : request->items()) {
        v1::ScoreResult* result = response->add_results();
        result->set_trajectory_id(item.trajectory().id());
        const auto t = FromProto(item.trajectory());
        const int64_t targets =
            trajectory::MakeMaskPlan(*t, {.kind = trajectory::PlanKind::kExact}, item.use_index())
                .target_count;
        for (int64_t i = 0; i < targets + extra; ++i) result->add_target_logprob(-1);
      }
      return absl::OkStatus();
    });
  }
  int extra = 0;  // log-probabilities too many
};

class FakeWeights : public v1::WeightsService::Service {
 public:
  grpc::Status PushWeights(grpc::ServerContext* context,
                           grpc::ServerReader<v1::PushWeightsRequest>* reader,
                           v1::PushWeightsResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
      ++pushes;
      if (pushes <= failures) return absl::UnavailableError("busy");
      v1::PushWeightsRequest request;
      bytes.clear();
      if (!reader->Read(&request)) return absl::DataLossError("empty");
      manifest = request.frame().manifest();
      if (held) {
        response->set_already_held(true);
        return absl::OkStatus();  // without reading the chunks
      }
      while (reader->Read(&request)) {
        const v1::WeightsChunk& chunk = request.frame().chunk();
        if (base::Crc32c(chunk.data()) != chunk.crc32c()) return absl::DataLossError("crc");
        bytes += chunk.data();
      }
      response->set_serving_version(manifest.version());
      return absl::OkStatus();
    });
  }

  int pushes = 0;
  int failures = 0;
  bool held = false;
  v1::WeightsManifest manifest;
  std::string bytes;
};

class ClientsTest : public testing::Test {
 protected:
  ClientsTest() : channels_(Identity()) {
    auto server = rpc::RpcServer::Start({}, {&replay_, &reference_, &weights_});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = *channels_.Create(server_->address().ToString());
    options_.target = "the fake";
    options_.waits = &waits_;
    options_.retry.initial_backoff = absl::Milliseconds(1);
  }
  static rpc::ChannelOptions Identity() {
    rpc::ChannelOptions options;
    options.identity = {.role = "learner", .worker_id = "learner-1"};
    return options;
  }
  std::unique_ptr<ReplayClient> Replay() { return *MakeReplayClient({channel_}, options_); }

  FakeReplay replay_;
  FakeReference reference_;
  FakeWeights weights_;
  rpc::ChannelFactory channels_;
  std::unique_ptr<rpc::RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  base::WaitStateRegistry waits_;
  ClientOptions options_;
};

TEST_F(ClientsTest, AnInsertCarriesThePromptsKeyAndAllItsPairs) {
  const auto result = Replay()->Insert(
      {"add-1", 0}, {.epoch = 1, .prompt_index = 2, .prompt_attempt = 3, .pairs = {Pair()}},
      Soon());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->duplicate);
  EXPECT_EQ(replay_.insert.job().job_id(), "add-1");
  EXPECT_EQ(replay_.insert.epoch(), 1);
  EXPECT_EQ(replay_.insert.prompt_index(), 2);
  EXPECT_EQ(replay_.insert.prompt_attempt(), 3);
  EXPECT_EQ(replay_.insert.pairs_size(), 1);
  EXPECT_FALSE(replay_.insert.no_pair());
  EXPECT_EQ(replay_.last_call.job_id, "add-1");
}

TEST_F(ClientsTest, AnOutcomeWithoutPairsIsSaidToBeOne) {
  ASSERT_TRUE(Replay()->Insert({"add-1", 0}, {.epoch = 0, .pairs = {}}, Soon()).ok());
  EXPECT_TRUE(replay_.insert.no_pair());
}

TEST_F(ClientsTest, ACallIsMadeAgainWhenTheServiceIsAway) {
  replay_.failures = 3;
  ASSERT_TRUE(Replay()->Insert({"add-1", 0}, {.pairs = {Pair()}}, Soon()).ok());
  EXPECT_EQ(replay_.calls, 4);
}

TEST_F(ClientsTest, AnErrorThatWontPassIsReturnedAtOnceWithItsReason) {
  replay_.failures = 10;
  replay_.failure = absl::FailedPreconditionError("attempt 1 is old");
  base::SetReason(replay_.failure, "stale_attempt");
  const auto batch = Replay()->GetBatch({"add-1", 1}, 1, 0, 1, Soon());
  EXPECT_EQ(replay_.calls, 1);
  EXPECT_EQ(base::GetReason(batch.status()), "stale_attempt");
}

TEST_F(ClientsTest, ABatchThatDoesntComeEndsWithTheStoresReasonAtTheDeadline) {
  replay_.failures = 100000;
  replay_.failure = absl::UnavailableError("3 of 8 pairs");
  base::SetReason(replay_.failure, "not_enough_items");
  base::SetRetryAfter(replay_.failure, absl::Milliseconds(5));
  const auto batch = Replay()->GetBatch({"add-1", 1}, 7, 0, 1, absl::Now() + absl::Seconds(1));
  EXPECT_TRUE(absl::IsUnavailable(batch.status())) << batch.status();
  EXPECT_EQ(base::GetReason(batch.status()), "not_enough_items");
  EXPECT_THAT(std::string(batch.status().message()), HasSubstr("batch 7 of job add-1"));
  EXPECT_TRUE(waits_.Snapshot().empty()) << "the wait is over";
}

TEST_F(ClientsTest, ABatchIsDecodedAndChecked) {
  const auto batch = Replay()->GetBatch({"add-1", 1}, 4, 0, 1, Soon());
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->number, 4);
  EXPECT_EQ(batch->policy_version, 3);
  EXPECT_TRUE(batch->last);
  ASSERT_EQ(batch->items.size(), 1u);
  EXPECT_EQ(batch->items[0].pair.id, Pair().id);
  EXPECT_EQ(batch->items[0].use_index, 2);
  EXPECT_EQ(batch->items[0].lag_versions, 1);

  replay_.spoil = true;
  const auto bad = Replay()->GetBatch({"add-1", 1}, 4, 0, 1, Soon());
  EXPECT_TRUE(absl::IsInvalidArgument(bad.status()));
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("batch 4"));
}

TEST_F(ClientsTest, AtLeastOneReplayShardIsNeeded) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeReplayClient({}, options_).status()));
}

TEST_F(ClientsTest, ReferenceScoresThatDontFitTheQuestionAreRefused) {
  const trajectory::Trajectory t = support::RandomTrajectory({}, 1);
  const std::vector<ScoreItem> items = {{&t, 0}};
  const auto client = MakeReferenceClient(channel_, options_);
  const auto scores =
      client->Score({"add-1", 1}, {.kind = trajectory::PlanKind::kExact}, items, "", Soon());
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->size(), 1u);
  EXPECT_FALSE(scores->front().empty());
  reference_.extra = 1;
  EXPECT_TRUE(absl::IsDataLoss(
      client->Score({"add-1", 1}, {.kind = trajectory::PlanKind::kExact}, items, "", Soon())
          .status()));
}

class PushTest : public ClientsTest {
 protected:
  PushTest() {
    weights::Manifest manifest;
    manifest.job_id = "add-1";
    manifest.version = 5;
    manifest.chunk_size_bytes = weights::kDefaultChunkBytes;
    manifest.tensors = {{.name = "w", .dtype = "F32", .shape = {300'000}}};  // two chunks
    EXPECT_TRUE(weights::LayOut(manifest).ok());
    weights::StagingArea staging(manifest);
    absl::Span<char> bytes = staging.MutableTensor(staging.manifest().tensors[0]);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
    image_ = *staging.Finish();
  }
  std::shared_ptr<const weights::Image> image_;
};

TEST_F(PushTest, APushSendsTheWholeImage) {
  const auto result = MakeWeightsClient(channel_, options_)->Push({"add-1", 1}, *image_, Soon());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->serving_version, 5);
  EXPECT_EQ(weights_.manifest.sha256(), image_->manifest().sha256);
  EXPECT_EQ(weights_.bytes, std::string(image_->bytes()));
}

TEST_F(PushTest, ABrokenPushIsBegunAgain) {
  weights_.failures = 2;
  ASSERT_TRUE(MakeWeightsClient(channel_, options_)->Push({"add-1", 1}, *image_, Soon()).ok());
  EXPECT_EQ(weights_.pushes, 3);
  EXPECT_EQ(weights_.bytes.size(), image_->bytes().size());
}

TEST_F(PushTest, AVersionThatIsHeldAlreadyNeedsNoChunks) {
  weights_.held = true;
  const auto result = MakeWeightsClient(channel_, options_)->Push({"add-1", 1}, *image_, Soon());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->already_held);
}

}  // namespace
}  // namespace dtrpo::wire
