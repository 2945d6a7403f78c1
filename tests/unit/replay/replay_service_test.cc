// The service over a real connection, with the client that the other services use.
#include "services/replay/replay_service.h"

#include <string>

#include "common/base/retry_after.h"
#include "common/wire/item_body.h"
#include "tests/unit/replay/replay_service_fixture.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;

TEST_F(ReplayServiceTest, APairComesBackAsItWasInserted) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  absl::StatusOr<wire::InsertResult> inserted = Insert(3, 2);
  ASSERT_TRUE(inserted.ok()) << inserted.status();
  EXPECT_FALSE(inserted->duplicate);
  EXPECT_EQ(inserted->durability, v1::MEMORY);
  absl::StatusOr<wire::Batch> batch = client_->GetBatch({kJob, 1}, 1, 1, 2, Soon());
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->number, 1);
  EXPECT_EQ(batch->global_pairs, 2);
  ASSERT_EQ(batch->items.size(), 1u);
  v1::PreferencePair expected, got;
  wire::ToProto(TestPair("add-1/0/3/0/p1", 0), &expected);
  wire::ToProto(batch->items[0].pair, &got);
  EXPECT_EQ(got.SerializeAsString(), expected.SerializeAsString());
}

// Invariant 6: an insert repeated after a lost reply stores once.
TEST_F(ReplayServiceTest, ServesBodiesAsTheyAreStoredToWhoeverUnpacksThemAndNobodyElse) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  ASSERT_TRUE(Insert(0, 2).ok());
  auto stub = v1::ReplayService::NewStub(channel_);
  v1::GetBatchRequest request;
  request.mutable_job()->set_job_id(kJob);
  request.set_batch(1);
  request.set_world(1);
  auto batch = [&] {
    return rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::GetBatch, request,
                          {.deadline = Soon()});
  };
  const absl::StatusOr<v1::GetBatchResponse> plain = batch();
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(plain->items(0).has_pair() && plain->items(0).body().empty());
  request.set_body_format(wire::kItemBodyFormat);
  absl::StatusOr<v1::GetBatchResponse> packed = batch();
  ASSERT_TRUE(packed.ok()) << packed.status();
  for (v1::BatchItem& item : *packed->mutable_items()) {
    EXPECT_TRUE(!item.has_pair() && !item.body().empty());
    ASSERT_TRUE(wire::UnpackItemBody(&item).ok());
  }
  EXPECT_EQ(packed->SerializeAsString(), plain->SerializeAsString());
}

TEST_F(ReplayServiceTest, AnInsertRepeatedAfterALostReplyStoresOnce) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  Connect({.lost_request_probability = 0.2,
           .lost_reply_probability = 0.5,
           .seed = 7,
           .methods = {"ReplayService/Insert"}});
  for (int prompt = 0; prompt < 6; ++prompt) ASSERT_TRUE(Insert(prompt, 1).ok());
  absl::StatusOr<v1::GetReplayStatsResponse> stats = client_->GetStats(kJob, Soon());
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->items(), 6);
  EXPECT_EQ(stats->inserted_prompts(), 6);
  EXPECT_GT(stats->duplicate_inserts(), 0) << "no reply was lost: the test shows nothing";
}

TEST_F(ReplayServiceTest, LostRepliesChangeNoBatch) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  for (int prompt = 0; prompt < 6; ++prompt) ASSERT_TRUE(Insert(prompt, 1, 2).ok());
  Connect({.lost_reply_probability = 0.5, .seed = 3});
  for (int64_t n : {1, 2, 3, 2, 1}) {
    absl::StatusOr<wire::Batch> batch = client_->GetBatch({kJob, 1}, n, 0, 1, Soon());
    ASSERT_TRUE(batch.ok()) << batch.status();
    ASSERT_EQ(batch->items.size(), 2u);
    EXPECT_EQ(batch->items[0].pair.id, absl::StrCat("add-1/0/", 2 * (n - 1), "/0/p0"));
    EXPECT_EQ(batch->policy_version, n - 1);
  }
  ASSERT_TRUE(client_->Acknowledge({kJob, 1}, 2, Soon()).ok());
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 2);
}

TEST_F(ReplayServiceTest, RefusesJobsThatNobodyOpened) {
  absl::StatusOr<wire::InsertResult> result = Insert(0, 1);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(base::GetReason(result.status()), "unknown_job");
  EXPECT_EQ(client_->OpenJob("", Options(), Soon()).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ReplayServiceTest, OpeningAgainChangesNothingButOtherOptionsAreRefused) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  ASSERT_TRUE(Insert(0, 1).ok());
  EXPECT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  v1::ReplayJobOptions other = Options();
  other.set_pairs_per_batch(3);
  EXPECT_EQ(base::GetReason(client_->OpenJob(kJob, other, Soon())), "options_differ");
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 1);
}

TEST_F(ReplayServiceTest, AClosedJobStaysClosed) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  ASSERT_TRUE(Insert(0, 1).ok());
  ASSERT_TRUE(client_->CloseJob(kJob, Soon()).ok());
  EXPECT_TRUE(client_->CloseJob(kJob, Soon()).ok());
  EXPECT_EQ(base::GetReason(Insert(1, 1).status()), "job_closed");
  EXPECT_EQ(base::GetReason(client_->OpenJob(kJob, Options(), Soon())), "job_closed");
  EXPECT_TRUE(client_->CloseJob("never-opened", Soon()).ok());
  EXPECT_EQ(base::GetReason(client_->OpenJob("never-opened", Options(), Soon())), "job_closed");
}

TEST_F(ReplayServiceTest, AnswersNotEnoughItemsBeforeTheCallersDeadline) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  absl::Status status = client_->GetBatch({kJob, 1}, 1, 0, 1, VerySoon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(base::GetReason(status), "not_enough_items");
}

TEST_F(ReplayServiceTest, TellsTheCoordinatorWhatBecameOfThePrompts) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  ASSERT_TRUE(Insert(0, 2).ok());
  ASSERT_TRUE(Insert(1, 0).ok());
  ASSERT_TRUE(Insert(2, 1).ok());
  ASSERT_TRUE(client_->SetNewestVersion(kJob, {.version = 1, .end_of_data = true}, Soon()).ok());
  ASSERT_TRUE(client_->GetBatch({kJob, 1}, 2, 0, 1, Soon())->last);
  ASSERT_TRUE(client_->Acknowledge({kJob, 1}, 2, Soon()).ok());

  absl::StatusOr<v1::PollPromptEventsResponse> first =
      client_->PollPromptEvents(kJob, 0, 2, Soon());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->position(), 5);  // of the last event there is
  ASSERT_EQ(first->events_size(), 2);
  EXPECT_EQ(first->events(0).kind(), v1::PromptEvent::STORED);
  EXPECT_EQ(first->events(0).pairs(), 2);
  EXPECT_EQ(first->events(1).kind(), v1::PromptEvent::NO_PAIR);

  absl::StatusOr<v1::PollPromptEventsResponse> rest = client_->PollPromptEvents(kJob, 3, 0, Soon());
  ASSERT_EQ(rest->events_size(), 2);
  EXPECT_EQ(rest->events(0).kind(), v1::PromptEvent::CONSUMED);
  EXPECT_EQ(rest->events(0).position(), 4);
  EXPECT_EQ(rest->events(0).prompt().prompt_index(), 0);
  EXPECT_EQ(rest->events(1).prompt().prompt_index(), 2);
}

TEST_F(ReplayServiceTest, HostilePairsAreRefusedByFieldAndNothingIsStored) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  v1::InsertRequest good;
  good.mutable_job()->set_job_id(kJob);
  wire::ToProto(TestPair("p", 0), good.add_pairs());
  wire::ToProto(TestPair("q", 0), good.add_pairs());

  v1::InsertRequest bad = good;
  bad.mutable_pairs(1)->mutable_rejected()->set_unmask_step(2, 99);
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("pairs[1]"));
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("unmask_step"));
  bad = good;
  bad.mutable_pairs(0)->mutable_chosen()->set_seed("minus one");
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("seed"));
  bad = good;
  bad.set_no_pair(true);
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("no_pair"));
  bad = good;
  bad.clear_pairs();
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("no_pair"));
  bad = good;
  bad.set_epoch(-1);
  EXPECT_THAT(InsertRaw(bad).message(), HasSubstr("epoch"));
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 0);
  EXPECT_TRUE(InsertRaw(good).ok());
}

TEST_F(ReplayServiceTest, ARestoredStoreKnowsItsJobs) {
  ASSERT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
  ASSERT_TRUE(client_->CloseJob("old", Soon()).ok());
  ASSERT_TRUE(Insert(0, 2).ok());
  ReplayStore restored({.engine = &engine_, .metrics = &metrics_});
  ASSERT_TRUE(restored.Restore().ok());
  EXPECT_EQ(restored.jobs(), 2);
  EXPECT_EQ((*restored.Find(kJob))->Stats().items, 2);
  EXPECT_FALSE(restored.Open("old", TableOptions()).ok());
}

TEST_F(ReplayServiceTest, ManyInsertsAreEachStoredOrRefusedOnTheirOwn) {
  v1::ReplayJobOptions options = Options();
  options.set_max_items(30);
  options.set_vocabulary_size(100);
  ASSERT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
  ASSERT_TRUE(Insert(0, 1).ok());
  v1::InsertManyRequest request;
  request.mutable_job()->set_job_id(kJob);
  for (int64_t prompt = 0; prompt < 40; ++prompt) {
    v1::InsertRequest* insert = request.add_inserts();
    insert->set_prompt_index(prompt);
    wire::ToProto(TestPair(absl::StrCat("p", prompt), 0), insert->add_pairs());
  }
  request.mutable_inserts(1)->mutable_pairs(0)->mutable_chosen()->set_response_tokens(0, 100);
  auto stub = v1::ReplayService::NewStub(channel_);
  const auto response = rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::InsertMany,
                                       request, {.deadline = Soon()});
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->results_size(), 40);
  EXPECT_TRUE(response->results(0).inserted().duplicate());
  EXPECT_EQ(response->results(1).code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(response->results(1).message(), HasSubstr("inserts[1]: pairs[0]"));
  EXPECT_EQ(response->results(2).code(), 0);
  EXPECT_EQ(response->results(2).inserted().durability(), v1::MEMORY);
  EXPECT_EQ(response->results(39).reason(), "replay_full");
  EXPECT_GT(response->results(39).retry_after_ms(), 0);
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 30);

  for (int64_t more = 0; more < 1024; ++more) request.add_inserts()->set_no_pair(true);
  EXPECT_EQ(rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::InsertMany, request,
                           {.deadline = Soon()})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace dtrpo::replay
