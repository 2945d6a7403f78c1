// A job over three replay services, through the client that hides them.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "common/base/retry_after.h"
#include "common/rpc/rpc_server.h"
#include "common/storage/memory_engine.h"
#include "common/wire/replay_shards.h"
#include "common/wire/replay_view_client.h"
#include "tests/unit/replay/replay_service_fixture.h"

namespace dtrpo::replay {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kShards = 3;

class ShardsTest : public ::testing::Test {
 protected:
  // A service whose process can be taken away and brought back, with or without what it stored.
  struct Shard {
    base::FakeMetrics registry;
    std::unique_ptr<storage::MemoryEngine> engine = std::make_unique<storage::MemoryEngine>();
    std::unique_ptr<ReplayMetrics> metrics = std::make_unique<ReplayMetrics>(&registry);
    std::unique_ptr<ReplayStore> store;
    std::unique_ptr<ReplayService> service;
    std::unique_ptr<rpc::RpcServer> server;
    std::string address = "127.0.0.1:0";
  };

  ShardsTest() {
    for (Shard& shard : shards_) Start(shard);
    Connect();
    EXPECT_TRUE(client_->OpenJob(kJob, SomeOptions(), Soon()).ok());
  }

  static v1::ReplayJobOptions SomeOptions() {
    v1::ReplayJobOptions options = Options();
    options.set_pairs_per_batch(4);
    options.set_max_staleness(8);
    options.set_max_items(100);
    return options;
  }

  void Start(Shard& shard) {
    shard.store = std::make_unique<ReplayStore>(JobTableDeps{
        .engine = shard.engine.get(), .metrics = shard.metrics.get(), .records_per_snapshot = 7});
    ASSERT_TRUE(shard.store->Restore().ok());
    shard.service = std::make_unique<ReplayService>(shard.store.get());
    auto server = rpc::RpcServer::Start({.listen = shard.address}, {shard.service.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    shard.server = *std::move(server);
    shard.address = shard.server->address().ToString();
  }
  void Stop(Shard& shard) {
    shard.store->Stop();
    shard.server.reset();
    shard.service.reset();
    shard.store.reset();
  }
  void LoseData(Shard& shard) {
    Stop(shard);
    shard.engine = std::make_unique<storage::MemoryEngine>();
    Start(shard);
  }

  std::vector<std::string> Addresses() const {
    std::vector<std::string> addresses;
    for (const Shard& shard : shards_) addresses.push_back(shard.address);
    return addresses;
  }

  std::unique_ptr<wire::ReplayClient> ClientOf(const std::vector<std::string>& addresses,
                                               int attempts = 0) {
    wire::ClientOptions options = {.target = "replay", .retry = {}};
    options.retry.initial_backoff = absl::Milliseconds(5);
    options.retry.max_backoff = absl::Milliseconds(50);
    options.retry.max_attempts = attempts;
    return *wire::ConnectReplay(*factory_, addresses, options);
  }
  void Connect(rpc::FaultOptions faults = {}) {
    factory_ = std::make_unique<rpc::ChannelFactory>(
        rpc::ChannelOptions{.identity = {.role = "rollout"}, .faults = std::move(faults)});
    client_ = ClientOf(Addresses());
    view_ = *wire::ConnectReplayView(*factory_, Addresses(), {.target = "replay", .retry = {}});
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

  absl::StatusOr<wire::InsertResult> Insert(int64_t prompt, int pairs, int64_t version = 0,
                                            int32_t attempt = 0) {
    wire::PromptOutcome outcome = {
        .epoch = 0, .prompt_index = prompt, .prompt_attempt = attempt, .pairs = {}};
    for (int i = 0; i < pairs; ++i) {
      outcome.pairs.push_back(TestPair(absl::StrCat(prompt, "/", attempt, "/", i), version));
      outcome.pairs.back().chosen.reward = static_cast<double>(prompt);
    }
    return client_->Insert({job_}, outcome, Soon());
  }
  void InsertPrompts(int64_t first, int64_t end) {
    for (int64_t prompt = first; prompt < end; ++prompt) {
      const auto inserted = Insert(prompt, 2);
      ASSERT_TRUE(inserted.ok()) << inserted.status();
      EXPECT_FALSE(inserted->duplicate);
    }
  }

  static std::vector<std::string> Ids(const absl::StatusOr<wire::Batch>& batch) {
    EXPECT_TRUE(batch.ok()) << batch.status();
    std::vector<std::string> ids;
    if (!batch.ok()) return ids;
    for (const wire::BatchItem& item : batch->items) ids.push_back(item.pair.id);
    return ids;
  }
  std::vector<std::string> Batch(int64_t n, int rank = 0, int world = 1) {
    return Ids(client_->GetBatch({job_, 1}, n, rank, world, Soon()));
  }

  std::vector<v1::PromptEvent> NewEvents() {
    const auto page = client_->PollPromptEvents(job_, position_, 1000, Soon());
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return {};
    position_ = page->position();
    return {page->events().begin(), page->events().end()};
  }
  int64_t Kept(int shard) { return view_->GetShardStats(job_, Soon())[shard].stats->items(); }

  std::array<Shard, kShards> shards_;
  std::unique_ptr<rpc::ChannelFactory> factory_;
  std::unique_ptr<wire::ReplayClient> client_;
  std::unique_ptr<wire::ReplayViewClient> view_;
  std::string job_ = kJob;
  int64_t position_ = 0;
};

TEST(ShardOfPromptTest, NeverChangesAndSpreadsEvenly) {
  // Golden: what is stored depends on it.
  std::vector<int32_t> places;
  for (int64_t prompt = 0; prompt < 8; ++prompt) {
    places.push_back(wire::ShardOfPrompt("add-1", 1, prompt, 3));
  }
  EXPECT_THAT(places, ElementsAre(0, 1, 2, 0, 1, 0, 0, 2));
  constexpr int64_t kPrompts = 30000;
  for (int shards : {2, 3, 7}) {
    std::vector<int64_t> counts(shards);
    for (int64_t i = 0; i < kPrompts; ++i) {
      ++counts[wire::ShardOfPrompt("add-1", i % 3, i / 3, shards)];
    }
    const double expected = static_cast<double>(kPrompts) / shards;
    double chi_square = 0;
    for (int64_t count : counts) {
      chi_square += (static_cast<double>(count) - expected) *
                    (static_cast<double>(count) - expected) / expected;
    }
    EXPECT_LT(chi_square, 22.5) << shards;  // 6 degrees of freedom: p = 0.001
  }
}

TEST_F(ShardsTest, ABatchIsTheSameForEverWhereverItsItemsAre) {
  InsertPrompts(0, 10);
  // In the order of the inserts, whichever shards keep them.
  EXPECT_THAT(Batch(1), ElementsAre("0/0/0", "0/0/1", "1/0/0", "1/0/1"));
  const std::vector<std::string> second = Batch(2);
  std::set<int> used;
  for (int64_t prompt = 0; prompt < 10; ++prompt) {
    used.insert(wire::ShardOfPrompt(kJob, 0, prompt, kShards));
  }
  ASSERT_EQ(used.size(), kShards) << "the prompts of this test lie on all shards";
  for (Shard& shard : shards_) {
    Stop(shard);
    Start(shard);
    EXPECT_THAT(Batch(1), ElementsAre("0/0/0", "0/0/1", "1/0/0", "1/0/1"));
    EXPECT_EQ(Batch(2), second);
  }
  // Slices of ranks make up the batch.
  std::vector<std::string> slices = Batch(2, 0, 2);
  for (const std::string& id : Batch(2, 1, 2)) slices.push_back(id);
  EXPECT_EQ(slices, second);
}

TEST_F(ShardsTest, BodiesLeaveTheirShardsWhenTheirPromptsEnd) {
  InsertPrompts(0, 10);
  NewEvents();
  int64_t kept = 0;
  for (int shard = 1; shard < kShards; ++shard) kept += Kept(shard);
  EXPECT_GT(kept, 0);
  EXPECT_EQ(Kept(0), 20) << "the one that sequences counts all";
  for (int n = 1; n <= 5; ++n) EXPECT_EQ(Batch(n).size(), 4u);
  ASSERT_TRUE(client_->Acknowledge({kJob, 1}, 5, Soon()).ok());
  std::map<int64_t, int> ended;
  for (const v1::PromptEvent& event : NewEvents()) {
    EXPECT_EQ(event.kind(), v1::PromptEvent::CONSUMED);
    ++ended[event.prompt().prompt_index()];
  }
  EXPECT_EQ(ended.size(), 10u);
  for (int shard = 0; shard < kShards; ++shard) EXPECT_EQ(Kept(shard), 0) << shard;
  // A late repetition of an insert stores nothing anywhere.
  for (int64_t prompt = 0; prompt < 10; ++prompt) EXPECT_TRUE(Insert(prompt, 2)->duplicate);
  for (int shard = 0; shard < kShards; ++shard) EXPECT_EQ(Kept(shard), 0) << shard;
}

TEST_F(ShardsTest, AStalePromptIsSampledAnewUnderTheNextAttempt) {
  job_ = "strict";
  v1::ReplayJobOptions options = SomeOptions();
  options.set_max_staleness(0);
  ASSERT_TRUE(client_->OpenJob(job_, options, Soon()).ok());
  InsertPrompts(0, 10);
  Batch(1);  // batch 2 is of version 1, and staleness 0: the rest leaves
  int evicted = 0;
  for (const v1::PromptEvent& event : NewEvents()) {
    evicted += event.kind() == v1::PromptEvent::EVICTED;
  }
  EXPECT_EQ(evicted, 8);
  for (int64_t prompt = 2; prompt < 10; ++prompt) {
    const auto again = Insert(prompt, 1, /*version=*/1, /*attempt=*/1);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_FALSE(again->duplicate) << prompt;
  }
  EXPECT_THAT(Batch(2), ElementsAre("2/1/0", "3/1/0", "4/1/0", "5/1/0"));
}

TEST_F(ShardsTest, LostMessagesStoreNothingTwice) {
  Connect({.lost_request_probability = 0.2, .lost_reply_probability = 0.2, .seed = 3});
  for (int64_t prompt = 0; prompt < 30; ++prompt) ASSERT_TRUE(Insert(prompt, 2).ok());
  Connect();
  std::set<std::string> seen;
  for (int n = 1; n <= 5; ++n) {
    for (const std::string& id : Batch(n)) EXPECT_TRUE(seen.insert(id).second) << id;
  }
  EXPECT_EQ(client_->GetStats(kJob, Soon())->inserted_items(), 60);
}

TEST_F(ShardsTest, ManyInsertsGoToTheirShards) {
  std::vector<v1::InsertRequest> prompts(20);
  for (int i = 0; i < 20; ++i) {
    prompts[i].set_prompt_index(i);
    wire::ToProto(TestPair(absl::StrCat(i), 0), prompts[i].add_pairs());
  }
  prompts[7].mutable_pairs(0)->mutable_chosen()->set_response_tokens(0, -1);
  for (const bool again : {false, true}) {
    const auto results = view_->InsertMany(kJob, prompts, Soon());
    ASSERT_EQ(results.size(), prompts.size());
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(results[i].ok(), i != 7) << i << ": " << results[i].status();
      if (i != 7) {
        EXPECT_EQ(results[i]->duplicate(), again) << i;
      }
    }
  }
  for (const wire::ShardStats& shard : view_->GetShardStats(kJob, Soon())) {
    ASSERT_TRUE(shard.stats.ok()) << shard.stats.status();
    EXPECT_GT(shard.stats->items(), 0) << shard.shard;
  }
  EXPECT_EQ(client_->GetStats(kJob, Soon())->inserted_items(), 19);
}

TEST_F(ShardsTest, ALostShardIsNamedAndNothingOfItIsLost) {
  InsertPrompts(0, 10);
  const std::vector<std::string> first = Batch(1);
  Shard& lost = shards_[1];
  Stop(lost);
  auto impatient = ClientOf(Addresses(), /*attempts=*/1);
  const std::string name = absl::StrCat("replay shard 1 ", lost.address);
  const auto within = [] { return absl::Now() + absl::Seconds(5); };
  absl::Status failed = absl::OkStatus();
  for (int n = 1; n <= 5 && failed.ok(); ++n) {
    failed = impatient->GetBatch({kJob, 1}, n, 0, 1, within()).status();
  }
  EXPECT_THAT(std::string(failed.message()), HasSubstr(name));
  EXPECT_THAT(std::string(impatient->PollPromptEvents(kJob, 0, 10, within()).status().message()),
              HasSubstr(name));
  const auto shards = view_->GetShardStats(kJob, within());
  EXPECT_TRUE(shards[0].stats.ok());
  EXPECT_THAT(std::string(shards[1].stats.status().message()), HasSubstr(name));

  Start(lost);
  EXPECT_EQ(Batch(1), first);
  std::set<std::string> seen;
  for (int n = 1; n <= 5; ++n) {
    for (const std::string& id : Batch(n)) EXPECT_TRUE(seen.insert(id).second) << id;
  }
  EXPECT_EQ(seen.size(), 20u);
}

TEST_F(ShardsTest, AnotherNumberOrOrderOfShardsIsRefusedWithWords) {
  ASSERT_TRUE(Insert(0, 2).ok());
  auto two = ClientOf({shards_[0].address, shards_[1].address}, 1);
  const absl::Status fewer = two->PollPromptEvents(kJob, 0, 10, Soon()).status();
  EXPECT_EQ(base::GetReason(fewer), kShardsDiffer) << fewer;
  EXPECT_THAT(std::string(fewer.message()), AllOf(HasSubstr("shard 0 of 3"), HasSubstr("0 of 2")));
  auto one = ClientOf({shards_[0].address}, 1);
  EXPECT_EQ(base::GetReason(one->GetBatch({kJob, 1}, 1, 0, 1, Soon()).status()), kShardsDiffer);
  auto swapped = ClientOf({shards_[1].address, shards_[0].address, shards_[2].address}, 1);
  EXPECT_EQ(base::GetReason(swapped->GetBatch({kJob, 1}, 1, 0, 1, Soon()).status()), kShardsDiffer);
  EXPECT_EQ(base::GetReason(two->OpenJob(kJob, SomeOptions(), Soon())), kShardsDiffer);
}

TEST_F(ShardsTest, AJobWhoseShardLostItsPartBeginsAnewEverywhere) {
  for (const int lost : {1, 0}) {
    InsertPrompts(0, 10);
    Batch(1);
    LoseData(shards_[lost]);
    const auto polled = client_->PollPromptEvents(kJob, 0, 10, Soon());
    EXPECT_TRUE(absl::IsNotFound(polled.status())) << polled.status();
    ASSERT_TRUE(client_->OpenJob(kJob, SomeOptions(), Soon()).ok());
    for (int shard = 0; shard < kShards; ++shard) EXPECT_EQ(Kept(shard), 0) << shard;
    position_ = 0;
    EXPECT_TRUE(NewEvents().empty());
  }
  // The same keys are new ones, and no body is of before.
  InsertPrompts(0, 10);
  EXPECT_THAT(Batch(1), ElementsAre("0/0/0", "0/0/1", "1/0/0", "1/0/1"));
  // Opening an empty job again changes nothing.
  ASSERT_TRUE(client_->CloseJob(kJob, Soon()).ok());
  EXPECT_EQ(client_->CloseJob(kJob, Soon()), absl::OkStatus());
  for (Shard& shard : shards_) EXPECT_EQ(shard.store->jobs(), 1);
  EXPECT_EQ(base::GetReason(Insert(77, 1).status()), kJobClosed);
}

TEST_F(ShardsTest, LooksAtItemsOfAllShards) {
  InsertPrompts(0, 10);
  v1::ListItemsRequest request;
  request.mutable_job()->set_job_id(kJob);
  request.set_bodies(true);
  const auto all = view_->ListItems(request, Soon());
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->items_size(), 20);
  for (const v1::ReplayItem& item : all->items()) {
    EXPECT_EQ(item.pair().chosen().prompt_tokens_size(), 4);
    EXPECT_EQ(item.pair().chosen().reward(), static_cast<double>(item.prompt().prompt_index()));
  }
  request.set_bodies(false);
  request.set_min_reward(4);
  request.set_max_reward(6);
  const auto some = view_->ListItems(request, Soon());
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->items_size(), 6);
  EXPECT_EQ(some->items(0).pair().chosen().prompt_tokens_size(), 0);
  for (int64_t item = 1; item <= 20; ++item) {
    const auto shown = view_->GetItem(kJob, item, Soon());
    ASSERT_TRUE(shown.ok()) << shown.status();
    EXPECT_TRUE(shown->has_pair());
  }
}

TEST_F(ShardsTest, OldEpochsAreForgottenEverywhere) {
  InsertPrompts(0, 4);
  // Staged, and its writer died.
  auto staged = [&](int64_t prompt) {
    v1::InsertRequest request;
    const int shard = wire::ShardOfPrompt(kJob, 0, prompt, kShards);
    request.mutable_job()->set_job_id(kJob);
    request.set_prompt_index(prompt);
    wire::ToProto(TestPair("left", 0), request.add_pairs());
    auto stub = v1::ReplayService::NewStub(*factory_->Create(shards_[shard].address));
    return rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::Stage, request,
                          {.deadline = Soon()});
  };
  int64_t orphan = 100;
  while (wire::ShardOfPrompt(kJob, 0, orphan, kShards) != 1) ++orphan;
  const int64_t before = Kept(1);
  const auto first = staged(orphan);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(staged(orphan)->first_item(), first->first_item()) << "what was staged first stays";
  EXPECT_EQ(Kept(1), before + 1);
  Batch(1), Batch(2);
  ASSERT_TRUE(client_->Acknowledge({kJob, 1}, 2, Soon()).ok());
  NewEvents();
  ASSERT_TRUE(client_->SetNewestVersion(kJob, {.forget_epochs_below = 1}, Soon()).ok());
  EXPECT_EQ(Kept(1), 0);
  EXPECT_TRUE(Insert(orphan, 1)->duplicate);
}

TEST_F(ShardsTest, StagedNonsenseIsRefusedByName) {
  auto refused = [&](const std::function<void(v1::InsertRequest&)>& change) {
    v1::InsertRequest request;
    request.mutable_job()->set_job_id(kJob);
    v1::StagedPrompt& staged = *request.mutable_staged();
    staged.set_shard(1);
    staged.set_first_item(1);
    auto& item = *staged.add_items();
    item.set_size_bytes(10);
    change(request);
    auto stub = v1::ReplayService::NewStub(*factory_->Create(shards_[0].address));
    const absl::Status status =
        rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::Insert, request,
                       {.deadline = Soon()})
            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](auto& r) { r.mutable_staged()->set_shard(3); }), HasSubstr("shard"));
  EXPECT_THAT(refused([](auto& r) { r.mutable_staged()->set_shard(-1); }), HasSubstr("shard"));
  EXPECT_THAT(refused([](auto& r) { r.mutable_staged()->set_first_item(-4); }),
              HasSubstr("first_item"));
  EXPECT_THAT(
      refused([](auto& r) { r.mutable_staged()->mutable_items(0)->set_priority(std::nan("")); }),
      HasSubstr("priority"));
  EXPECT_THAT(
      refused([](auto& r) { r.mutable_staged()->mutable_items(0)->set_size_bytes(INT64_MAX); }),
      HasSubstr("size_bytes"));
  EXPECT_THAT(refused([](auto& r) { r.mutable_staged()->mutable_items(0)->set_version(-7); }),
              HasSubstr("version"));
}

}  // namespace
}  // namespace dtrpo::replay
