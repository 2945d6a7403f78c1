// What every engine promises (storage_engine().h), asked of each.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/engine_under_test.h"

namespace dtrpo::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EngineTest : public ::testing::TestWithParam<std::string> {
 protected:
  EngineTest() : store_(MakeStore(GetParam())) { Reopen(); }
  void Reopen() {
    engine_.reset();
    absl::StatusOr<std::unique_ptr<StorageEngine>> opened = store_->Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    engine_ = *std::move(opened);
  }
  StorageEngine& engine() { return *engine_; }

  const std::unique_ptr<StoreUnderTest> store_;
  std::unique_ptr<StorageEngine> engine_;
};

INSTANTIATE_TEST_SUITE_P(Engines, EngineTest, ::testing::ValuesIn(StoreKinds()),
                         [](const auto& info) { return info.param; });

std::vector<std::string> RecordsAfter(const StorageEngine& engine, absl::string_view log,
                                      Position position) {
  std::vector<std::string> records;
  Position expected = position;
  EXPECT_TRUE(engine
                  .Replay(log, position,
                          [&](Position at, absl::string_view record) {
                            EXPECT_EQ(at, ++expected);
                            records.emplace_back(record);
                            return absl::OkStatus();
                          })
                  .ok());
  return records;
}

TEST_P(EngineTest, ReplaysRecordsInTheOrderOfTheirAppends) {
  EXPECT_EQ(engine().Append("a", {.records = {"one", "two"}})->position, 2);
  EXPECT_EQ(engine().Append("b", {.records = {"other"}})->position, 1);
  EXPECT_EQ(engine().Append("a", {.records = {"three"}})->position, 3);
  EXPECT_THAT(RecordsAfter(engine(), "a", 0), ElementsAre("one", "two", "three"));
  EXPECT_THAT(RecordsAfter(engine(), "a", 2), ElementsAre("three"));
  EXPECT_THAT(RecordsAfter(engine(), "a", 3), IsEmpty());
  EXPECT_THAT(RecordsAfter(engine(), "nobody wrote here", 0), IsEmpty());
  EXPECT_THAT(*engine().Logs(), ElementsAre("a", "b"));
}

TEST_P(EngineTest, AConfirmationNamesTheLevelReached) {
  for (Durability level : {Durability::kMemory, Durability::kLog, Durability::kSync}) {
    const Confirmation confirmed = *engine().Append("a", {.records = {"r"}}, level);
    EXPECT_GE(confirmed.durability, std::min(level, engine().durability()));
    EXPECT_LE(confirmed.durability, engine().durability());
  }
}

TEST_P(EngineTest, AConfirmationOfAStepConfirmsThoseBeforeIt) {
  Sequence last = 0;
  for (int i = 0; i < 20; ++i) {
    const Written written = *engine().Write(i % 2 == 0 ? "a" : "b", {.records = {"r"}});
    EXPECT_EQ(written.position, i / 2 + 1);
    EXPECT_GT(written.sequence, last);
    last = written.sequence;
  }
  ASSERT_TRUE(engine().Confirm(last, Durability::kSync, absl::Seconds(30)).ok());
  EXPECT_EQ(RecordsAfter(engine(), "a", 0).size(), 10);
  EXPECT_EQ(RecordsAfter(engine(), "b", 0).size(), 10);
}

TEST_P(EngineTest, ManyWritersOfTheirOwnLogsDontDisturbEachOther) {
  constexpr int kWriters = 8;
  constexpr int kSteps = 40;
  std::vector<std::thread> writers;
  std::atomic<int> failures = 0;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([this, writer, &failures] {
      const std::string log = "log " + std::to_string(writer);
      for (int i = 0; i < kSteps; ++i) {
        const auto confirmed = engine().Append(
            log, {.records = {std::to_string(i)}, .bodies = {{i, std::string(100, 'x')}}});
        if (!confirmed.ok() || confirmed->position != i + 1) ++failures;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failures, 0);
  const std::vector<std::string> logs = *engine().Logs();
  EXPECT_EQ(logs.size(), kWriters);
  for (const std::string& log : logs) {
    EXPECT_EQ(RecordsAfter(engine(), log, 0).size(), kSteps);
    EXPECT_EQ(engine().ReadBodies(log, {0, kSteps - 1})->size(), 2);
  }
}

TEST_P(EngineTest, ManyBodiesOfEverySizeComeBack) {
  std::string large;
  for (int i = 0; i < 400 << 10; ++i) large.push_back(static_cast<char>(i * 7 + i / 256));
  Operations step;
  for (int i = 0; i < 64; ++i)
    step.bodies.emplace_back(i, large.substr(0, 1 + i * (large.size() / 64)));
  ASSERT_TRUE(engine().Append("a", std::move(step)).ok());
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ((*engine().ReadBodies("a", {i}))[0], large.substr(0, 1 + i * (large.size() / 64)));
  }
}

TEST_P(EngineTest, WhatIsConfirmedIsThereWhenTheStoreIsOpenedAgain) {
  if (!store_->durable()) {
    EXPECT_EQ(engine().durability(), Durability::kMemory);
    return;
  }
  const int64_t epoch = engine().epoch();
  ASSERT_TRUE(
      engine().Append("a", {.records = {"1", "2", "3"}, .bodies = {{4, "x"}, {5, "y"}}}).ok());
  ASSERT_TRUE(engine().WriteSnapshot("a", {.position = 2, .state = "at 2"}).ok());
  ASSERT_TRUE(engine().Append("a", {.records = {"4"}, .deleted_bodies = {{4, 5}}}).ok());
  ASSERT_TRUE(engine().Append("all in a snapshot", {.records = {"1"}}).ok());
  ASSERT_TRUE(engine().WriteSnapshot("all in a snapshot", {.position = 1, .state = "s"}).ok());
  Reopen();
  EXPECT_GT(engine().epoch(), epoch);
  EXPECT_THAT(*engine().Logs(), ElementsAre("a", "all in a snapshot"));
  EXPECT_EQ((*engine().ReadSnapshot("a"))->state, "at 2");
  EXPECT_THAT(RecordsAfter(engine(), "a", 2), ElementsAre("3", "4"));
  EXPECT_THAT(*engine().ReadBodies("a", {5}), ElementsAre("y"));
  EXPECT_FALSE(engine().ReadBodies("a", {4}).ok());
  EXPECT_EQ(engine().Append("a", {.records = {"5"}})->position, 5);
  EXPECT_EQ(engine().Append("all in a snapshot", {.records = {"2"}})->position, 2);
  EXPECT_FALSE(engine().Append("a", {.bodies = {{5, "taken"}}}).ok());
}

TEST_P(EngineTest, SaysHowLongALogIs) {
  EXPECT_EQ(engine().SizeOf("a")->last, 0);
  ASSERT_TRUE(engine().Append("a", {.records = {"1", "2", "3"}}).ok());
  ASSERT_TRUE(engine().WriteSnapshot("a", {.position = 2, .state = "at 2"}).ok());
  const LogSize size = *engine().SizeOf("a");
  EXPECT_EQ(size.first, 3);
  EXPECT_EQ(size.last, 3);
  EXPECT_EQ(size.snapshot_bytes, 4);
  EXPECT_TRUE(engine().Size().ok());
}

TEST_P(EngineTest, AClosedStoreTakesNothing) {
  ASSERT_TRUE(engine().Close().ok());
  EXPECT_FALSE(engine().Write("a", {.records = {"r"}}).ok());
  EXPECT_TRUE(engine().Close().ok());
}

TEST_P(EngineTest, ReadsBodiesInTheOrderAskedFor) {
  ASSERT_TRUE(engine().Append("a", {.bodies = {{1, "x"}, {2, "y"}, {7, "z"}}}).ok());
  EXPECT_THAT(*engine().ReadBodies("a", {7, 1, 7}), ElementsAre("z", "x", "z"));
  EXPECT_EQ(engine().ReadBodies("a", {1, 3}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(engine().ReadBodies("b", {1}).status().message(), HasSubstr("'b' has no body 1"));
}

TEST_P(EngineTest, DeletesRangesOfBodiesWithoutTheirEnd) {
  ASSERT_TRUE(engine().Append("a", {.bodies = {{1, "x"}, {2, "y"}, {3, "z"}}}).ok());
  ASSERT_TRUE(
      engine().Append("a", {.records = {"gone"}, .deleted_bodies = {{1, 3}, {9, 12}}}).ok());
  EXPECT_FALSE(engine().ReadBodies("a", {1}).ok());
  EXPECT_FALSE(engine().ReadBodies("a", {2}).ok());
  EXPECT_THAT(*engine().ReadBodies("a", {3}), ElementsAre("z"));
}

TEST_P(EngineTest, ARefusedStepLeavesNothingBehind) {
  ASSERT_TRUE(engine().Append("a", {.records = {"first"}, .bodies = {{1, "x"}}}).ok());
  EXPECT_FALSE(engine().Append("a", {.records = {"r"}, .bodies = {{2, "y"}, {1, "again"}}}).ok());
  EXPECT_FALSE(engine().Append("a", {.records = {"r"}, .bodies = {{2, "y"}, {2, "twice"}}}).ok());
  EXPECT_FALSE(engine().Append("a", {.records = {"r"}, .deleted_bodies = {{5, 4}}}).ok());
  EXPECT_FALSE(engine().Append("new", {.records = {"r"}, .bodies = {{-1, "y"}}}).ok());
  EXPECT_THAT(RecordsAfter(engine(), "a", 0), ElementsAre("first"));
  EXPECT_THAT(*engine().ReadBodies("a", {1}), ElementsAre("x"));
  EXPECT_FALSE(engine().ReadBodies("a", {2}).ok());
  EXPECT_THAT(*engine().Logs(), ElementsAre("a"));
}

TEST_P(EngineTest, ASnapshotReplacesTheRecordsBeforeIt) {
  ASSERT_TRUE(engine().Append("a", {.records = {"1", "2", "3"}, .bodies = {{1, "x"}}}).ok());
  EXPECT_FALSE(engine().ReadSnapshot("a")->has_value());
  ASSERT_TRUE(engine().WriteSnapshot("a", {.position = 2, .state = "state at 2"}).ok());
  EXPECT_EQ((*engine().ReadSnapshot("a"))->position, 2);
  EXPECT_EQ((*engine().ReadSnapshot("a"))->state, "state at 2");
  EXPECT_THAT(RecordsAfter(engine(), "a", 2), ElementsAre("3"));
  EXPECT_THAT(*engine().ReadBodies("a", {1}), ElementsAre("x"));
  EXPECT_EQ(engine().Append("a", {.records = {"4"}})->position, 4);
  EXPECT_THAT(RecordsAfter(engine(), "a", 3), ElementsAre("4"));

  auto ignore = [](Position, absl::string_view) { return absl::OkStatus(); };
  EXPECT_EQ(engine().Replay("a", 1, ignore).code(), absl::StatusCode::kOutOfRange);
}

TEST_P(EngineTest, RefusesASnapshotOutsideTheLog) {
  ASSERT_TRUE(engine().Append("a", {.records = {"1", "2", "3"}}).ok());
  ASSERT_TRUE(engine().WriteSnapshot("a", {.position = 2, .state = "s"}).ok());
  EXPECT_FALSE(engine().WriteSnapshot("a", {.position = 4, .state = "t"}).ok());
  EXPECT_FALSE(engine().WriteSnapshot("a", {.position = 1, .state = "t"}).ok());
  EXPECT_FALSE(engine().WriteSnapshot("b", {.position = 1, .state = "t"}).ok());
  EXPECT_EQ((*engine().ReadSnapshot("a"))->state, "s");
}

TEST_P(EngineTest, ReplayStopsAtTheVisitorsError) {
  ASSERT_TRUE(engine().Append("a", {.records = {"1", "2", "3"}}).ok());
  int seen = 0;
  absl::Status status = engine().Replay("a", 0, [&](Position, absl::string_view record) {
    ++seen;
    return record == "2" ? absl::DataLossError("record 2 is damaged") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace dtrpo::storage
