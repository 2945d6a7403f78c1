// Groups, priorities and looking in, over a real connection.
#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/wire/replay_view_client.h"
#include "tests/unit/replay/replay_service_fixture.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ItemsTest : public ReplayServiceTest {
 protected:
  ItemsTest() : view_(wire::MakeReplayViewClient(channel_, {.target = "replay", .retry = {}})) {}

  // Like Insert(), with rewards.
  void InsertPair(int64_t prompt, int64_t version, double chosen, double rejected) {
    wire::PromptOutcome outcome;
    outcome.prompt_index = prompt;
    outcome.pairs.push_back(TestPair(absl::StrCat("p", prompt), version));
    outcome.pairs.back().chosen.reward = chosen;
    outcome.pairs.back().rejected.reward = rejected;
    const auto inserted = client_->Insert({kJob}, outcome, Soon());
    ASSERT_TRUE(inserted.ok()) << inserted.status();
  }

  std::vector<int64_t> List(v1::ListItemsRequest request) {
    request.mutable_job()->set_job_id(kJob);
    std::vector<int64_t> items;
    do {
      const auto page = view_->ListItems(request, Soon());
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const v1::ReplayItem& item : page->items()) items.push_back(item.item());
      request.set_after_item(page->next_after_item());
    } while (request.after_item() != 0);
    return items;
  }

  // Of prompts from `first` on, a pair each.
  static std::vector<v1::InsertRequest> Prompts(int64_t first, int count) {
    std::vector<v1::InsertRequest> prompts(count);
    for (int i = 0; i < count; ++i) {
      prompts[i].set_prompt_index(first + i);
      wire::ToProto(TestPair(absl::StrCat("p", first + i), 0), prompts[i].add_pairs());
    }
    return prompts;
  }

  std::unique_ptr<wire::ReplayViewClient> view_;
};

v1::TrajectoryGroup Group(const std::string& id, int size, int64_t version) {
  v1::TrajectoryGroup group;
  group.set_id(id);
  for (int i = 0; i < size; ++i) {
    trajectory::Trajectory t = TestTrajectory(absl::StrCat(id, "/", i), 5 + i, version);
    t.reward = i;
    wire::ToProto(t, group.add_trajectories());
  }
  return group;
}

TEST_F(ItemsTest, AGroupIsStoredServedAndShownAsOneItem) {
  v1::ReplayJobOptions options = Options();
  options.set_pairs_per_batch(1);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  v1::InsertRequest request;
  request.mutable_job()->set_job_id(kJob);
  *request.add_groups() = Group("g", 4, 0);
  ASSERT_TRUE(InsertRaw(request).ok());
  const auto item = view_->GetItem(kJob, 1, Soon());
  ASSERT_TRUE(item.ok()) << item.status();
  EXPECT_EQ(item->group().SerializeAsString(), request.groups(0).SerializeAsString());
  EXPECT_EQ(item->priority(), 3);  // best minus worst

  v1::GetBatchRequest get;
  get.mutable_job()->set_job_id(kJob);
  get.set_batch(1);
  get.set_world(1);
  auto stub = v1::ReplayService::NewStub(channel_);
  const auto batch = rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::GetBatch, get,
                                    {.deadline = Soon()});
  ASSERT_TRUE(batch.ok()) << batch.status();
  ASSERT_EQ(batch->items_size(), 1);
  EXPECT_EQ(batch->items(0).group().SerializeAsString(), request.groups(0).SerializeAsString());
  EXPECT_FALSE(batch->items(0).has_pair());
}

TEST_F(ItemsTest, GroupsThatAreNoneAreRefusedByField) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  v1::InsertRequest request;
  request.mutable_job()->set_job_id(kJob);
  request.add_groups();
  EXPECT_THAT(InsertRaw(request).message(), HasSubstr("groups[0]: trajectories: 0"));
  *request.mutable_groups(0) = Group("g", 3, 0);
  request.mutable_groups(0)->mutable_trajectories(2)->set_prompt_tokens(0, 77);
  EXPECT_THAT(InsertRaw(request).message(), HasSubstr("trajectories[2].prompt_tokens"));
  *request.mutable_groups(0) = Group("g", 3, 0);
  request.mutable_groups(0)->mutable_trajectories(1)->set_id("g/0");
  EXPECT_THAT(InsertRaw(request).message(), HasSubstr("trajectories[1].id"));
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 0);
}

TEST_F(ItemsTest, ListsByVersionAndRewardInPages) {
  v1::ReplayJobOptions options = Options();
  options.set_max_staleness(5);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  for (int i = 0; i < 6; ++i) InsertPair(i, i, /*chosen=*/i, /*rejected=*/-1);
  v1::ListItemsRequest request;
  request.set_max_items(1);
  EXPECT_THAT(List(request), ElementsAre(1, 2, 3, 4, 5, 6));
  request.set_min_version(1);
  request.set_max_version(4);
  EXPECT_THAT(List(request), ElementsAre(2, 3, 4, 5));
  request.set_min_reward(2.5);
  request.set_max_reward(10);
  EXPECT_THAT(List(request), ElementsAre(4, 5));
  request.mutable_job()->set_job_id(kJob);
  request.set_max_items(0);
  const v1::ReplayItem listed = view_->ListItems(request, Soon())->items(0);
  EXPECT_EQ(listed.pair().chosen().reward(), 3);
  EXPECT_TRUE(listed.pair().chosen().response_tokens().empty());
  EXPECT_EQ(listed.state(), v1::ReplayItem::AVAILABLE);
  request.set_max_items(-1);
  EXPECT_THAT(view_->ListItems(request, Soon()).status().message(), HasSubstr("max_items"));
  EXPECT_EQ(view_->GetItem(kJob, 99, Soon()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ItemsTest, BatchesFollowTheRewardGapWhereTheJobSaysSo) {
  v1::ReplayJobOptions options = Options();
  options.set_selector(v1::PRIORITISED);
  options.set_priority_exponent(50);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  InsertPair(0, 0, 0.1, 0);
  InsertPair(1, 0, 2, -3);
  InsertPair(2, 0, 0.1, 0);
  InsertPair(3, 0, 3, -1);
  const auto batch = client_->GetBatch({kJob, 1}, 1, 0, 1, Soon());
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->items[0].pair.id, "p1");
  EXPECT_EQ(batch->items[1].pair.id, "p3");
}

TEST_F(ItemsTest, TheLearnersPrioritiesAreTakenOnceAndAnOldAttemptsAreRefused) {
  v1::ReplayJobOptions options = Options();
  options.set_priority(v1::LEARNER);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  ASSERT_TRUE(Insert(0, 2).ok());
  ASSERT_TRUE(client_->GetBatch({kJob, 2}, 1, 0, 1, Soon()).ok());
  v1::UpdatePrioritiesRequest request;
  request.mutable_job()->set_job_id(kJob);
  request.mutable_job()->set_attempt(2);
  request.set_batch(1);
  request.set_rank(1);
  request.set_world(2);
  request.add_priorities(9);
  auto stub = v1::ReplayService::NewStub(channel_);
  auto update = [&] {
    return rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::UpdatePriorities, request,
                          {.deadline = Soon()});
  };
  EXPECT_FALSE(update()->duplicate());
  EXPECT_TRUE(update()->duplicate());
  EXPECT_EQ(view_->GetItem(kJob, 1, Soon())->priority(), 1);
  EXPECT_EQ(view_->GetItem(kJob, 2, Soon())->priority(), 9);
  request.mutable_job()->set_attempt(1);
  EXPECT_EQ(update().status().code(), absl::StatusCode::kFailedPrecondition);
  request.mutable_job()->set_attempt(2);
  request.set_world(0);
  EXPECT_THAT(update().status().message(), HasSubstr("world"));
}

TEST_F(ItemsTest, AJobThatAsksForMemoryIsConfirmedAsSuchAndOthersAtTheEnginesBest) {
  v1::ReplayJobOptions options = Options();
  options.set_durability(v1::MEMORY);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  EXPECT_EQ(Insert(0, 1)->durability, v1::MEMORY);
  const auto jobs = view_->ListJobs(Soon());
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  ASSERT_EQ(jobs->jobs_size(), 1);
  EXPECT_EQ(jobs->jobs(0).stats().items(), 1);
  EXPECT_EQ(jobs->jobs(0).stats().durability(), v1::MEMORY);
}

TEST_F(ItemsTest, ManyInsertsRepeatedAfterALostReplyStoreOnce) {
  v1::ReplayJobOptions options = Options();
  options.set_max_items(100);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  Connect({.lost_request_probability = 0.2,
           .lost_reply_probability = 0.5,
           .seed = 7,
           .methods = {"ReplayService/InsertMany"}});
  wire::ClientOptions patient = {.target = "replay", .retry = {}};
  patient.retry.initial_backoff = absl::Milliseconds(1);
  view_ = wire::MakeReplayViewClient(channel_, patient);
  for (int64_t first = 0; first < 48; first += 8) {
    for (const auto& result : view_->InsertMany(kJob, Prompts(first, 8), Soon())) {
      ASSERT_TRUE(result.ok()) << result.status();
    }
  }
  const auto stats = client_->GetStats(kJob, Soon());
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->items(), 48);
  EXPECT_EQ(stats->inserted_prompts(), 48);
  EXPECT_GT(stats->duplicate_inserts(), 0) << "no reply was lost: the test shows nothing";
}

TEST_F(ItemsTest, ARefusedOneOfManyInsertsNamesItselfAndTheOthersAreStored) {
  v1::ReplayJobOptions options = Options();
  options.set_max_items(100);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  std::vector<v1::InsertRequest> prompts = Prompts(10, 5);
  prompts[2].mutable_pairs(0)->mutable_chosen()->set_response_tokens(0, -1);
  const auto results = view_->InsertMany(kJob, prompts, Soon());
  ASSERT_EQ(results.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(results[i].ok(), i != 2) << results[i].status();
  EXPECT_EQ(results[2].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(results[2].status().message(), HasSubstr("prompt 12 of epoch 0 of job add-1"));
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 4);
}

// As an insert does: with room it would be taken.
TEST_F(ItemsTest, WhatAFullStoreRefusesOfManyInsertsIsTriedAgainUntilTheDeadline) {
  v1::ReplayJobOptions options = Options();
  options.set_max_items(30);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  const auto results = view_->InsertMany(kJob, Prompts(0, 31), VerySoon());
  ASSERT_EQ(results.size(), 31u);
  EXPECT_TRUE(results[29].ok()) << results[29].status();
  EXPECT_EQ(base::GetReason(results[30].status()), "replay_full");
  EXPECT_THAT(results[30].status().message(), HasSubstr("prompt 30"));
  EXPECT_THAT(results[30].status().message(), HasSubstr("deadline reached"));

  for (const auto& result : view_->InsertMany("nobody", Prompts(0, 2), Soon())) {
    EXPECT_EQ(base::GetReason(result.status()), "unknown_job") << result.status();
  }
}

}  // namespace
}  // namespace dtrpo::replay
