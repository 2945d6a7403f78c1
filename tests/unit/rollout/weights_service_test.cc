// The service over a real connection, with the client that the learner uses.
#include "services/rollout/weights_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/unary_call.h"
#include "common/wire/weights_client.h"
#include "common/wire/weights_codec.h"

namespace dtrpo::rollout {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kJob[] = "add-1";

struct ImageShape {
  int64_t version = 0;
  int64_t generation = 0;
  std::string job_id = kJob;
  std::string tensor = "w";
  int64_t extent = 300'000;  // two chunks
  std::string base_sha256 = "";
};

std::shared_ptr<const weights::Image> MakeImage(const ImageShape& shape) {
  weights::Manifest manifest;
  manifest.job_id = shape.job_id;
  manifest.version = shape.version;
  manifest.generation = shape.generation;
  manifest.base_sha256 = shape.base_sha256;
  manifest.tensors = {{.name = shape.tensor, .dtype = "F32", .shape = {shape.extent}}};
  DTRPO_CHECK_OK(weights::LayOut(manifest));
  weights::StagingArea area(manifest);
  absl::Span<char> bytes = area.MutableTensor(area.manifest().tensors[0]);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(i + 31 * shape.version + 57 * shape.generation);
  }
  const auto image = area.Finish();
  DTRPO_CHECK_OK(image);
  return *image;
}

class WeightsServiceTest : public ::testing::Test {
 protected:
  WeightsServiceTest()
      : server_(*rpc::RpcServer::Start({}, {&service_})),
        channel_(*channels_.Create(server_->address().ToString())) {
    DTRPO_CHECK_OK(versions_.Install(MakeImage({})));
    service_.AcceptJob(kJob);
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

  absl::StatusOr<wire::PushResult> Push(const ImageShape& shape, int32_t attempt = 1) {
    wire::ClientOptions options;
    options.target = "rollout";
    options.retry.max_attempts = 1;
    return wire::MakeWeightsClient(channel_, options)
        ->Push({shape.job_id, attempt}, *MakeImage(shape), Soon());
  }

  // Frame by frame, as no well-behaved client does: `spoil` may change frame i (0 is the manifest)
  // and says whether it is sent.
  absl::Status PushSpoiled(const ImageShape& shape,
                           const std::function<bool(int, v1::PushWeightsRequest&)>& spoil) {
    const std::shared_ptr<const weights::Image> image = MakeImage(shape);
    const auto stub = v1::WeightsService::NewStub(channel_);
    grpc::ClientContext context;
    rpc::PrepareContext({.deadline = Soon()}, &context);
    v1::PushWeightsResponse response;
    const auto stream = stub->PushWeights(&context, &response);
    for (int i = 0; i <= static_cast<int>(image->manifest().ChunkCount()); ++i) {
      v1::PushWeightsRequest request;
      if (i == 0) {
        request.mutable_job()->set_job_id(kJob);
        request.mutable_job()->set_attempt(1);
        wire::ToProto(image->manifest(), request.mutable_frame()->mutable_manifest());
      } else {
        v1::WeightsChunk* chunk = request.mutable_frame()->mutable_chunk();
        chunk->set_index(i - 1);
        chunk->set_data(std::string(image->Chunk(i - 1)));
        chunk->set_crc32c(base::Crc32c(chunk->data()));
      }
      if (spoil(i, request) && !stream->Write(request)) break;
    }
    stream->WritesDone();
    return rpc::FromGrpcStatus(stream->Finish());
  }

  // The version that serves, after a push that failed.
  int64_t StillServing() {
    EXPECT_EQ(versions_.Newest()->bytes(),
              MakeImage({.version = versions_.NewestVersion()})->bytes());
    EXPECT_GE(registry_.Value("dtrpo_rollout_weights_refused_total"), 1);
    return versions_.NewestVersion();
  }

  base::FakeMetrics registry_;
  RolloutMetrics metrics_{&registry_};
  weights::VersionStore versions_;
  WeightsService service_{&versions_, base::RealClock(), &metrics_};
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(WeightsServiceTest, AGoodPushServesAtOnceAndTheOldVersionStaysForThoseWhoHoldIt) {
  const auto pushed = Push({.version = 1});
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(pushed->serving_version, 1);
  EXPECT_FALSE(pushed->already_held);
  EXPECT_EQ(versions_.Newest()->bytes(), MakeImage({.version = 1})->bytes());
  EXPECT_NE(versions_.Find(0), nullptr);
  EXPECT_EQ(registry_.Value("dtrpo_rollout_weights_version"), 1);
  EXPECT_EQ(registry_.Value("dtrpo_rollout_weights_received_bytes_total"), 1'200'000);
}

TEST_F(WeightsServiceTest, APartThatBelongsToOtherFrozenWeightsIsRefusedByChecksum) {
  const std::string ours(64, 'a'), theirs(64, 'b');
  versions_.Clear();
  DTRPO_CHECK_OK(versions_.Install(MakeImage({.base_sha256 = ours})));
  ASSERT_TRUE(Push({.version = 1, .base_sha256 = ours}).ok());
  for (const std::string& other : {theirs, std::string()}) {
    const absl::Status status = Push({.version = 2, .base_sha256 = other}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(ours), HasSubstr(other.empty() ? "none" : other)));
  }
  EXPECT_EQ(versions_.NewestVersion(), 1);
}

TEST_F(WeightsServiceTest, TheSameBitsAgainAreHeldAlready) {
  ASSERT_TRUE(Push({.version = 1}).ok());
  const std::shared_ptr<const weights::Image> before = versions_.Newest();
  const auto again = Push({.version = 1});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->already_held);
  EXPECT_EQ(again->serving_version, 1);
  EXPECT_EQ(versions_.Newest(), before);
}

TEST_F(WeightsServiceTest, ABrokenTransferLeavesTheOldVersionServing) {
  const auto corrupted = PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest& request) {
    if (i == 2) (*request.mutable_frame()->mutable_chunk()->mutable_data())[7] ^= 1;
    return true;
  });
  EXPECT_TRUE(absl::IsDataLoss(corrupted)) << corrupted;
  EXPECT_THAT(std::string(corrupted.message()), HasSubstr("chunk 1"));
  EXPECT_EQ(StillServing(), 0);

  const auto incomplete =
      PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest&) { return i < 2; });
  EXPECT_TRUE(absl::IsDataLoss(incomplete)) << incomplete;
  EXPECT_EQ(StillServing(), 0);

  // Every chunk is sound, but the whole isn't what the manifest promised.
  const auto another = PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest& request) {
    if (i == 0) request.mutable_frame()->mutable_manifest()->set_sha256(std::string(64, '0'));
    return true;
  });
  EXPECT_TRUE(absl::IsDataLoss(another)) << another;
  EXPECT_EQ(StillServing(), 0);

  const auto disordered =
      PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest&) { return i != 1; });
  EXPECT_TRUE(absl::IsInvalidArgument(disordered)) << disordered;
  EXPECT_EQ(StillServing(), 0);

  const auto headless =
      PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest&) { return i > 0; });
  EXPECT_TRUE(absl::IsInvalidArgument(headless)) << headless;
  EXPECT_EQ(StillServing(), 0);

  ASSERT_TRUE(Push({.version = 1}).ok()) << "and a sound one is taken afterwards";
}

TEST_F(WeightsServiceTest, ALearnerThatWasReplacedCantPushAnyMore) {
  ASSERT_TRUE(Push({.version = 1}, /*attempt=*/2).ok());
  const absl::Status status = Push({.version = 2}, /*attempt=*/1).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(base::GetReason(status), "stale_attempt");
  EXPECT_EQ(StillServing(), 1);
  service_.AcceptJob(kJob);  // the job at hand once more: the fence stays
  EXPECT_FALSE(Push({.version = 2}, /*attempt=*/1).ok());
  EXPECT_TRUE(Push({.version = 2}, /*attempt=*/3).ok());
}

TEST_F(WeightsServiceTest, AnotherJobsWeightsAreRefused) {
  const absl::Status status = Push({.version = 1, .job_id = "sub-2"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("sub-2"));
  EXPECT_EQ(StillServing(), 0);
  const absl::Status mixed = PushSpoiled({.version = 1}, [](int i, v1::PushWeightsRequest& r) {
    if (i == 0) r.mutable_frame()->mutable_manifest()->set_job_id("sub-2");
    return true;
  });
  EXPECT_TRUE(absl::IsInvalidArgument(mixed)) << mixed;
  EXPECT_EQ(StillServing(), 0);
}

TEST_F(WeightsServiceTest, TensorsThatArentTheModelsAreRefusedByName) {
  const absl::Status shape = Push({.version = 1, .extent = 299'999}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(shape)) << shape;
  EXPECT_THAT(std::string(shape.message()), HasSubstr("tensor w"));
  const absl::Status name = Push({.version = 1, .tensor = "v"}).status();
  EXPECT_THAT(std::string(name.message()), HasSubstr("tensor v"));
  const absl::Status size = Push({.version = 1, .extent = 400'000}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(size)) << size;
  EXPECT_EQ(StillServing(), 0);
}

TEST_F(WeightsServiceTest, VersionsOnlyGrowUnlessAHigherGenerationReplacesThem) {
  ASSERT_TRUE(Push({.version = 2}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Push({.version = 1}).status()));
  EXPECT_EQ(StillServing(), 2);
  ASSERT_TRUE(Push({.version = 1, .generation = 1}, /*attempt=*/2).ok());
  EXPECT_EQ(versions_.NewestVersion(), 1);
  EXPECT_EQ(versions_.Find(2), nullptr) << "never the weights of the job that survived";
}

TEST_F(WeightsServiceTest, BeforeTheBaseModelIsLoadedTheLearnerIsToComeAgain) {
  versions_.Clear();
  const absl::Status status = Push({.version = 1}).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(base::GetReason(status), "rollout_loading");
}

}  // namespace
}  // namespace dtrpo::rollout
