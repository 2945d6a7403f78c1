#include "common/storage/memory_engine.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST(MemoryEngineTest, ReplaysRecordsInTheOrderOfTheirAppends) {
  MemoryEngine engine;
  EXPECT_EQ(engine.Append("a", {.records = {"one", "two"}})->position, 2);
  EXPECT_EQ(engine.Append("b", {.records = {"other"}})->position, 1);
  EXPECT_EQ(engine.Append("a", {.records = {"three"}})->position, 3);
  EXPECT_THAT(RecordsAfter(engine, "a", 0), ElementsAre("one", "two", "three"));
  EXPECT_THAT(RecordsAfter(engine, "a", 2), ElementsAre("three"));
  EXPECT_THAT(RecordsAfter(engine, "a", 3), IsEmpty());
  EXPECT_THAT(RecordsAfter(engine, "nobody wrote here", 0), IsEmpty());
  EXPECT_THAT(*engine.Logs(), ElementsAre("a", "b"));
}

TEST(MemoryEngineTest, ConfirmsNoMoreThanMemory) {
  MemoryEngine engine;
  EXPECT_EQ(engine.Append("a", {.records = {"r"}})->durability, Durability::kMemory);
}

TEST(MemoryEngineTest, ReadsBodiesInTheOrderAskedFor) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.bodies = {{1, "x"}, {2, "y"}, {7, "z"}}}).ok());
  EXPECT_THAT(*engine.ReadBodies("a", {7, 1, 7}), ElementsAre("z", "x", "z"));
  EXPECT_EQ(engine.ReadBodies("a", {1, 3}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(engine.ReadBodies("b", {1}).status().message(), HasSubstr("'b' has no body 1"));
}

TEST(MemoryEngineTest, DeletesRangesOfBodiesWithoutTheirEnd) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.bodies = {{1, "x"}, {2, "y"}, {3, "z"}}}).ok());
  ASSERT_TRUE(engine.Append("a", {.records = {"gone"}, .deleted_bodies = {{1, 3}, {9, 12}}}).ok());
  EXPECT_FALSE(engine.ReadBodies("a", {1}).ok());
  EXPECT_FALSE(engine.ReadBodies("a", {2}).ok());
  EXPECT_THAT(*engine.ReadBodies("a", {3}), ElementsAre("z"));
}

TEST(MemoryEngineTest, ARefusedStepLeavesNothingBehind) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.records = {"first"}, .bodies = {{1, "x"}}}).ok());
  EXPECT_FALSE(engine.Append("a", {.records = {"r"}, .bodies = {{2, "y"}, {1, "again"}}}).ok());
  EXPECT_FALSE(engine.Append("a", {.records = {"r"}, .bodies = {{2, "y"}, {2, "twice"}}}).ok());
  EXPECT_FALSE(engine.Append("a", {.records = {"r"}, .deleted_bodies = {{5, 4}}}).ok());
  EXPECT_FALSE(engine.Append("new", {.records = {"r"}, .bodies = {{-1, "y"}}}).ok());
  EXPECT_THAT(RecordsAfter(engine, "a", 0), ElementsAre("first"));
  EXPECT_THAT(*engine.ReadBodies("a", {1}), ElementsAre("x"));
  EXPECT_FALSE(engine.ReadBodies("a", {2}).ok());
  EXPECT_THAT(*engine.Logs(), ElementsAre("a"));
}

TEST(MemoryEngineTest, ASnapshotReplacesTheRecordsBeforeIt) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.records = {"1", "2", "3"}, .bodies = {{1, "x"}}}).ok());
  EXPECT_FALSE(engine.ReadSnapshot("a")->has_value());
  ASSERT_TRUE(engine.WriteSnapshot("a", {.position = 2, .state = "state at 2"}).ok());
  EXPECT_EQ((*engine.ReadSnapshot("a"))->position, 2);
  EXPECT_EQ((*engine.ReadSnapshot("a"))->state, "state at 2");
  EXPECT_THAT(RecordsAfter(engine, "a", 2), ElementsAre("3"));
  EXPECT_THAT(*engine.ReadBodies("a", {1}), ElementsAre("x"));
  EXPECT_EQ(engine.Append("a", {.records = {"4"}})->position, 4);
  EXPECT_THAT(RecordsAfter(engine, "a", 3), ElementsAre("4"));

  auto ignore = [](Position, absl::string_view) { return absl::OkStatus(); };
  EXPECT_EQ(engine.Replay("a", 1, ignore).code(), absl::StatusCode::kOutOfRange);
}

TEST(MemoryEngineTest, RefusesASnapshotOutsideTheLog) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.records = {"1", "2", "3"}}).ok());
  ASSERT_TRUE(engine.WriteSnapshot("a", {.position = 2, .state = "s"}).ok());
  EXPECT_FALSE(engine.WriteSnapshot("a", {.position = 4, .state = "t"}).ok());
  EXPECT_FALSE(engine.WriteSnapshot("a", {.position = 1, .state = "t"}).ok());
  EXPECT_FALSE(engine.WriteSnapshot("b", {.position = 1, .state = "t"}).ok());
  EXPECT_EQ((*engine.ReadSnapshot("a"))->state, "s");
}

TEST(MemoryEngineTest, ReplayStopsAtTheVisitorsError) {
  MemoryEngine engine;
  ASSERT_TRUE(engine.Append("a", {.records = {"1", "2", "3"}}).ok());
  int seen = 0;
  absl::Status status = engine.Replay("a", 0, [&](Position, absl::string_view record) {
    ++seen;
    return record == "2" ? absl::DataLossError("record 2 is damaged") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace dtrpo::storage
