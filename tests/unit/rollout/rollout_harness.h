// Thread safety: one test at a time.
//
// The whole rollout but for main(), against a fake coordinator, a fake replay store and a fake
// reward service behind one real server.
#pragma once

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
#include "services/rollout/rollout_worker.h"
#include "tests/support/fake_coordinator.h"
#include "tests/support/fake_reward.h"
#include "tests/unit/rollout/unigram_checkpoint.h"

namespace dtrpo::rollout {

inline constexpr char kJob[] = "add-1";

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
        server_(*rpc::RpcServer::Start({}, {&coordinator_, &replay_, &weights_service_, &reward_})),
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

  v1::Assignment AskingAService() const {
    v1::Assignment assignment = Running();
    v1::RewardSpec& reward = *assignment.mutable_spec()->mutable_reward();
    reward.set_verifier("service:fake");
    reward.mutable_service()->set_address(server_->address().ToString());
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
  support::FakeReward reward_;
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

}  // namespace dtrpo::rollout
