// The service over a real connection, with the client that the learner uses.
#include "services/reference/reference_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/unary_call.h"
#include "common/wire/mask_plan_codec.h"
#include "common/wire/reference_client.h"
#include "common/wire/trajectory_codec.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::reference {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr trajectory::MaskPlanOptions kPlan = {.job_seed = 7, .draws = 2};

class ReferenceServiceTest : public ::testing::Test {
 protected:
  ReferenceServiceTest()
      : server_(*rpc::RpcServer::Start({}, {&service_})),
        channel_(*channels_.Create(server_->address().ToString())),
        t_(support::RandomTrajectory(support::TinyShape(), 1)) {
    const std::string path = support::TestFolder() + "/base";
    support::WriteTinyCheckpoint(path);
    job::ModelSpec model;
    model.path = path;
    DTRPO_CHECK_OK(scorer_.Load("job", model));
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

  std::unique_ptr<wire::ReferenceClient> Client() {
    wire::ClientOptions options;
    options.target = "reference";
    options.retry.max_attempts = 1;
    return wire::MakeReferenceClient(channel_, options);
  }

  // The refusal of a request that `spoil` has changed.
  std::string Refusal(const std::function<void(v1::ScoreRequest&)>& spoil) {
    v1::ScoreRequest request;
    request.mutable_job()->set_job_id("job");
    wire::ToProto(kPlan, request.mutable_plan());
    for (int i = 0; i < 2; ++i) wire::ToProto(t_, request.add_items()->mutable_trajectory());
    spoil(request);
    const auto stub = v1::ReferenceService::NewStub(channel_);
    const absl::Status status =
        rpc::UnaryCall(stub.get(), &v1::ReferenceService::StubInterface::Score, request,
                       {.deadline = Soon()})
            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }

  base::FakeMetrics registry_;
  ReferenceMetrics metrics_{&registry_};
  ReferenceScorer scorer_{{}, base::RealClock(), &metrics_};
  ReferenceService service_{&scorer_};
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  std::shared_ptr<grpc::Channel> channel_;
  trajectory::Trajectory t_;
};

TEST_F(ReferenceServiceTest, ScoresTravelUnchanged) {
  const auto direct = scorer_.Score("job", "", kPlan, {{ScoreItem{t_, 1}}});
  ASSERT_TRUE(direct.ok()) << direct.status();
  const std::vector<wire::ScoreItem> items = {{&t_, 1}};
  const auto scores = Client()->Score({"job", 1}, kPlan, items, direct->sha256, Soon());
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(*scores, direct->targets);
}

TEST_F(ReferenceServiceTest, AnotherJobIsToldThatItsModelIsLoading) {
  const std::vector<wire::ScoreItem> items = {{&t_, 0}};
  const absl::Status status = Client()->Score({"other", 1}, kPlan, items, "", Soon()).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(base::GetReason(status), "reference_loading");
}

TEST_F(ReferenceServiceTest, ABadRequestIsRefusedNamingTheField) {
  EXPECT_THAT(Refusal([](v1::ScoreRequest& r) { r.mutable_plan()->set_draws(0); }),
              HasSubstr("plan.draws"));
  EXPECT_THAT(Refusal([](v1::ScoreRequest& r) { r.mutable_plan()->set_boundary("foggy"); }),
              HasSubstr("boundary"));
  EXPECT_THAT(Refusal([](v1::ScoreRequest& r) {
                r.mutable_items(1)->mutable_trajectory()->clear_prompt_tokens();
              }),
              AllOf(HasSubstr("items[1]"), HasSubstr("prompt_tokens")));
  EXPECT_THAT(Refusal([](v1::ScoreRequest& r) { r.mutable_items(0)->clear_trajectory(); }),
              HasSubstr("items[0]"));
  EXPECT_THAT(Refusal([](v1::ScoreRequest& r) {
                r.mutable_items(0)->mutable_trajectory()->set_response_tokens(0, 40);
              }),
              HasSubstr("response_tokens"));
}

}  // namespace
}  // namespace dtrpo::reference
