// The whole rollout but for main(), against a fake coordinator and a fake replay store behind one
// real server.
#include "services/rollout/rollout_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry_after.h"
#include "common/rpc/rpc_server.h"
#include "common/text/prompt_encoder.h"
#include "common/training/weights_image.h"
#include "common/wire/weights_client.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"
#include "tests/support/fake_coordinator.h"
#include "tests/unit/rollout/unigram_checkpoint.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] = "add-1";

class FakeReplay : public v1::ReplayService::Service {
 public:
  explicit FakeReplay(support::FakeCoordinator* log) : log_(log) {}

  // What an insert is answered, given how many came before; it is noted when the answer is OK.
  std::function<absl::Status(int)> answer = [](int) { return absl::OkStatus(); };

  grpc::Status Insert(grpc::ServerContext* context, const v1::InsertRequest* request,
                      v1::InsertResponse*) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      absl::MutexLock lock(&mutex_);
      const absl::Status status = answer(inserts_++);
      if (status.ok()) {
        log_->Note(
            absl::StrCat("insert ", request->prompt_index(), request->no_pair() ? " no pair" : ""));
        requests_.push_back(*request);
      }
      return status;
    });
  }
  int inserts() const {
    absl::MutexLock lock(&mutex_);
    return inserts_;
  }
  std::vector<v1::InsertRequest> requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }

 private:
  support::FakeCoordinator* const log_;
  mutable absl::Mutex mutex_;
  int inserts_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::InsertRequest> requests_ ABSL_GUARDED_BY(mutex_);
};

class RolloutWorkerTest : public ::testing::Test {
 protected:
  RolloutWorkerTest()
      : path_(support::TestFolder() + "/base"),
        server_(*rpc::RpcServer::Start({}, {&coordinator_, &replay_, &weights_service_})),
        client_(*channels_.Create(server_->address().ToString())) {
    const auto encoder = text::PromptEncoder::Load(kExample, /*wrap_text=*/false);
    DTRPO_CHECK_OK(encoder);
    seven_ = encoder->EncodeText("7")->front();
    WriteUnigramCheckpoint(path_, {{seven_, 0.0}, {kStop, 0.0}});
  }

  ~RolloutWorkerTest() override {
    if (worker_ != nullptr) worker_->Stop();
    if (thread_.joinable()) thread_.join();
    worker_.reset();
  }

  v1::Assignment Running() const {
    v1::Assignment assignment;
    assignment.mutable_job()->set_job_id(kJob);
    assignment.set_state(v1::RUNNING);
    assignment.add_replay(server_->address().ToString());
    v1::JobSpec& spec = *assignment.mutable_spec();
    spec.set_name("add");
    spec.mutable_model()->set_path(path_);
    spec.mutable_data()->set_prompts("/prompts.jsonl");
    spec.mutable_sampling()->set_unmask("steps:2");
    spec.mutable_sampling()->set_max_new_tokens(max_new_tokens_);
    spec.mutable_sampling()->set_samples_per_prompt(24);  // "7" surely is among them
    spec.mutable_training()->set_steps(10);
    spec.set_output("/out");
    return assignment;
  }

  void Start() {
    worker_ =
        std::make_unique<RolloutWorker>(RolloutWorker::Options{.registration = Registration(),
                                                               .call_timeout = absl::Seconds(10),
                                                               .lease_prompts = 4,
                                                               .batch = {.sequences = 16}},
                                        RolloutWorker::Deps{.coordinator = &client_,
                                                            .channels = &channels_,
                                                            .versions = &versions_,
                                                            .weights_service = &weights_service_,
                                                            .served_job = &served_job_,
                                                            .clock = base::RealClock(),
                                                            .waits = &waits_,
                                                            .metrics = &metrics_});
    thread_ = std::thread([this] { worker_->Run(); });
  }

  static v1::RegisterWorkerRequest Registration() {
    v1::RegisterWorkerRequest registration;
    registration.set_role("rollout");
    return registration;
  }

  v1::PromptLease Lease(int64_t index, const std::string& answer = "7") const {
    v1::PromptLease lease;
    lease.set_lease_id(absl::StrCat("l", index));
    lease.set_kind(v1::TRAIN);
    lease.set_prompt_index(index);
    lease.set_prompt_json(
        absl::StrCat(R"({"id": )", index, R"(, "prompt": "3+4=", "answer": ")", answer, R"("})"));
    return lease;
  }
  v1::PromptLease Evaluation(int64_t index, int64_t version) const {
    v1::PromptLease lease = Lease(index);
    lease.set_kind(v1::EVALUATE);
    lease.set_version(version);
    lease.set_keep_sample(index == 0);
    return lease;
  }

  // The version that a learner would push: it never stops.
  void PushVersion(int64_t version) {
    const std::string path = absl::StrCat(path_, "-", version);
    WriteUnigramCheckpoint(path, {{seven_, 0.0}});
    const auto image = training::MakeImage(*support::LoadModel(path), kJob, version, 0);
    ASSERT_TRUE(image.ok()) << image.status();
    wire::ClientOptions options;
    options.target = "rollout";
    const auto pushed =
        wire::MakeWeightsClient(*channels_.Create(server_->address().ToString()), options)
            ->Push({kJob, 1}, **image, absl::Now() + absl::Seconds(10));
    ASSERT_TRUE(pushed.ok()) << pushed.status();
  }

  bool AwaitState(const std::string& state) {
    return coordinator_.AwaitHeartbeat(
        [&](const v1::HeartbeatRequest& beat) { return absl::StrContains(beat.state(), state); });
  }
  int CountEvents(const std::string& event) const {
    const std::vector<std::string> events = coordinator_.events();
    return static_cast<int>(std::count(events.begin(), events.end(), event));
  }

  const std::string path_;
  int32_t seven_ = 0;
  int32_t max_new_tokens_ = 10;
  support::FakeCoordinator coordinator_;
  FakeReplay replay_{&coordinator_};
  base::FakeMetrics registry_;
  RolloutMetrics metrics_{&registry_};
  base::WaitStateRegistry waits_;
  weights::VersionStore versions_;
  WeightsService weights_service_{&versions_, base::RealClock(), &metrics_};
  ServedJobSlot served_job_;
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  wire::WorkerClient client_;
  std::unique_ptr<RolloutWorker> worker_;
  std::thread thread_;
};

TEST_F(RolloutWorkerTest, TellsThatItHoldsVersionZeroOnceTheBaseModelIsLoaded) {
  coordinator_.Assign(Running());
  Start();
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.job_id() == kJob && beat.version() == 0 && beat.versions_held_size() == 1;
  }));
}

TEST_F(RolloutWorkerTest, EveryPromptIsInReplayBeforeItIsReportedAndReportedOnce) {
  coordinator_.OfferPrompts({Lease(0), Lease(1), Lease(2, "8"), Lease(3), Lease(4), Lease(5)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 6));
  ASSERT_TRUE(AwaitState("no prompts"));
  const std::vector<std::string> events = coordinator_.events();
  const auto position = [&](const std::string& event) {
    EXPECT_EQ(CountEvents(event), 1) << event;
    return std::find(events.begin(), events.end(), event) - events.begin();
  };
  for (const int prompt : {0, 1, 3, 4, 5}) {
    EXPECT_LT(position(absl::StrCat("insert ", prompt)),
              position(absl::StrCat("report l", prompt, " STORED")));
  }
  EXPECT_LT(position("insert 2 no pair"), position("report l2 NO_PAIR"));
  EXPECT_EQ(CountEvents("lease 4"), 1) << "no more than asked for";
  EXPECT_EQ(CountEvents("lease 2"), 1);

  for (const v1::InsertRequest& request : replay_.requests()) {
    EXPECT_EQ(request.job().job_id(), kJob);
    EXPECT_EQ(request.no_pair(), request.pairs().empty());
  }
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.samples(), 24);
    EXPECT_GT(result.tokens(), 0);
    EXPECT_GT(result.forwards(), 0);
    EXPECT_EQ(result.version(), 0);
  }
  EXPECT_EQ(registry_.Value("dtrpo_rollout_prompts_total", {{"outcome", "stored"}}), 5);
}

TEST_F(RolloutWorkerTest, AReportWhoseReplyWasLostIsRepeatedAndItsInsertIsNot) {
  coordinator_.LoseReplies(2);
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report l0 STORED", 3));
  ASSERT_TRUE(AwaitState("no prompts"));
  EXPECT_EQ(CountEvents("report l0 STORED"), 3);
  EXPECT_EQ(replay_.inserts(), 1);
}

TEST_F(RolloutWorkerTest, AFullReplayStoreIsWaitedFor) {
  replay_.answer = [](int inserts) {
    return inserts < 4 ? base::BackPressureError("full", "replay_full", absl::Milliseconds(20))
                       : absl::OkStatus();
  };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report"));
  EXPECT_EQ(CountEvents("report l0 STORED"), 1);
  EXPECT_EQ(replay_.inserts(), 5);
}

TEST_F(RolloutWorkerTest, AnInsertThatReplayRefusesFailsThePromptWithItsWords) {
  replay_.answer = [](int) { return absl::InvalidArgumentError("pairs[0]: chosen.seed"); };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report l0 FAILED"));
  EXPECT_THAT(coordinator_.results()[0].error(), HasSubstr("pairs[0]: chosen.seed"));
}

TEST_F(RolloutWorkerTest, AStoreThatLostTheJobIsNoFaultOfThePrompt) {
  replay_.answer = [](int) { return absl::NotFoundError("unknown job"); };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  EXPECT_TRUE(coordinator_.AwaitEvents("report l0 RETURNED"));
}

TEST_F(RolloutWorkerTest, ABadPromptFailsAloneWithItsWords) {
  v1::PromptLease bad = Lease(1);
  bad.set_prompt_json("{");
  coordinator_.OfferPrompts({Lease(0), bad});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 2));
  EXPECT_EQ(CountEvents("report l0 STORED"), 1);
  EXPECT_EQ(CountEvents("report l1 FAILED"), 1);
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.error().empty(), result.lease_id() == "l0") << result.error();
  }
}

TEST_F(RolloutWorkerTest, DrainingHandsPromptsBackThatAreBeingSampled) {
  max_new_tokens_ = 2000;
  WriteUnigramCheckpoint(path_, {{seven_, 0.0}});  // it never stops by itself
  coordinator_.OfferPrompts({Lease(0), Lease(1), Lease(2)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("lease 3"));
  ASSERT_TRUE(AwaitState("sampling 3 prompts at version 0"));
  worker_->Stop();
  thread_.join();
  for (const int prompt : {0, 1, 2}) {
    EXPECT_EQ(CountEvents(absl::StrCat("report l", prompt, " RETURNED")), 1);
  }
  EXPECT_EQ(replay_.inserts(), 0);
}

TEST_F(RolloutWorkerTest, DrainingHandsPromptsBackThatAFullStoreKeepsWaiting) {
  replay_.answer = [](int) {
    return base::BackPressureError("full", "replay_full", absl::Milliseconds(20));
  };
  coordinator_.OfferPrompts({Lease(0), Lease(1)});
  coordinator_.Assign(Running());
  Start();
  while (replay_.inserts() < 3) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time stopped = absl::Now();
  worker_->Stop();
  thread_.join();
  EXPECT_LT(absl::Now() - stopped, absl::Seconds(3));
  EXPECT_EQ(CountEvents("report l0 RETURNED"), 1);
  EXPECT_EQ(CountEvents("report l1 RETURNED"), 1);
}

TEST_F(RolloutWorkerTest, AnEvaluationUsesItsVersionAndTrainingTheNewest) {
  v1::Assignment assignment = Running();
  assignment.set_newest_version(1);
  assignment.add_pinned_versions(0);
  coordinator_.Assign(assignment);
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  PushVersion(1);
  coordinator_.OfferPrompts({Evaluation(0, 0), Evaluation(1, 1), Evaluation(2, 9), Lease(3)});
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 4));
  std::map<std::string, v1::PromptResult> results;
  for (const v1::PromptResult& result : coordinator_.results()) {
    results[result.lease_id()] = result;
  }
  // Version 0 may stop anywhere, version 1 never does.
  EXPECT_EQ(results["l0"].outcome(), v1::PromptResult::EVALUATED);
  EXPECT_EQ(results["l0"].version(), 0);
  EXPECT_EQ(results["l0"].sample().expected(), "7");
  EXPECT_GT(results["l0"].sample().denoising_size(), 0);
  EXPECT_EQ(results["l1"].outcome(), v1::PromptResult::EVALUATED);
  EXPECT_EQ(results["l1"].tokens(), 10);
  EXPECT_FALSE(results["l1"].has_sample()) << "only where it is asked for";
  EXPECT_EQ(results["l2"].outcome(), v1::PromptResult::RETURNED) << "version 9 isn't here";
  EXPECT_EQ(results["l3"].outcome(), v1::PromptResult::NO_PAIR);
  EXPECT_EQ(results["l3"].version(), 1);
  EXPECT_EQ(replay_.inserts(), 1) << "evaluations aren't stored";
}

TEST_F(RolloutWorkerTest, VersionsThatNobodyNeedsAreLetGo) {
  v1::Assignment assignment = Running();
  assignment.add_pinned_versions(1);
  coordinator_.Assign(assignment);
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  for (int64_t version = 1; version <= 3; ++version) PushVersion(version);
  assignment.set_newest_version(3);
  coordinator_.Assign(assignment);
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.version() == 3 && beat.versions_held_size() == 2 && beat.versions_held(0) == 1;
  }));
}

TEST_F(RolloutWorkerTest, AJobThatIsOverIsLetGo) {
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  v1::Assignment over = Running();
  over.set_state(v1::SUCCEEDED);
  coordinator_.Assign(over);
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.state() == "idle" && beat.job_id().empty() && beat.version() == -1;
  }));
  EXPECT_EQ(versions_.Newest(), nullptr);
}

TEST_F(RolloutWorkerTest, TheJobIsServedToGenerateCallsFromItsLoadingToItsEnd) {
  EXPECT_EQ(served_job_.Get().status().message(), "this rollout works on no job");
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  const auto served = served_job_.Get();
  ASSERT_TRUE(served.ok()) << served.status();
  EXPECT_EQ((*served)->job_id, kJob);
  EXPECT_EQ((*served)->spec.sampling.unmask, "steps:2");
  EXPECT_TRUE((*served)->policies->Get(versions_.Newest()).ok());
  EXPECT_TRUE((*served)->encoder->EncodeText("7").ok());
  v1::Assignment over = Running();
  over.set_state(v1::SUCCEEDED);
  coordinator_.Assign(over);
  ASSERT_TRUE(AwaitState("idle"));
  EXPECT_EQ(served_job_.Get().status().message(), "this rollout works on no job");
}

TEST_F(RolloutWorkerTest, AModelThatCantBeLoadedIsNamedInTheWorkersState) {
  v1::Assignment assignment = Running();
  assignment.mutable_spec()->mutable_model()->set_path(path_ + "/nowhere");
  coordinator_.Assign(assignment);
  Start();
  EXPECT_TRUE(AwaitState(path_ + "/nowhere"));
  EXPECT_THAT(std::string(served_job_.Get().status().message()), HasSubstr("job add-1"));
}

}  // namespace
}  // namespace dtrpo::rollout
