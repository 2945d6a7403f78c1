#include "common/weights/version_store.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::weights {
namespace {

using ::testing::ElementsAre;

std::shared_ptr<const Image> MakeImage(int64_t version, float value, int64_t generation = 0,
                                       const std::string& job_id = "add-1") {
  Manifest manifest;
  manifest.job_id = job_id;
  manifest.version = version;
  manifest.generation = generation;
  manifest.tensors = {{.name = "a", .dtype = "F32", .shape = {1}}};
  EXPECT_TRUE(LayOut(manifest).ok());
  StagingArea area(manifest);
  std::memcpy(area.MutableTensor(manifest.tensors[0]).data(), &value, sizeof(value));
  return *area.Finish();
}

TEST(VersionStoreTest, ServesTheNewestAndKeepsWhatIsPinned) {
  VersionStore store;
  EXPECT_EQ(store.NewestVersion(), -1);
  for (int64_t v = 0; v < 4; ++v) ASSERT_TRUE(store.Install(MakeImage(v, 1.0f * v)).ok());
  store.KeepOnly({1});
  EXPECT_THAT(store.Held(), ElementsAre(1, 3));
  EXPECT_EQ(store.NewestVersion(), 3);
  EXPECT_EQ(store.Find(2), nullptr);
}

TEST(VersionStoreTest, TheSameBitsAgainAreANoOp) {
  VersionStore store;
  ASSERT_TRUE(store.Install(MakeImage(5, 1)).ok());
  const auto before = store.Newest();
  ASSERT_TRUE(store.Install(MakeImage(5, 1)).ok());
  EXPECT_EQ(store.Newest(), before);
}

TEST(VersionStoreTest, ANumberNeverStandsForTwoSetsOfBitsOfOneGeneration) {
  VersionStore store;
  ASSERT_TRUE(store.Install(MakeImage(5, 1)).ok());
  EXPECT_EQ(store.Install(MakeImage(5, 2)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store.Install(MakeImage(4, 2)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(VersionStoreTest, AHigherGenerationReplacesTheNumbersFromItsOwnOn) {
  VersionStore store;
  for (int64_t v = 3; v < 7; ++v) ASSERT_TRUE(store.Install(MakeImage(v, 1.0f * v)).ok());
  ASSERT_TRUE(store.Install(MakeImage(5, 50, /*generation=*/1)).ok());
  EXPECT_THAT(store.Held(), ElementsAre(3, 4, 5));
  EXPECT_EQ(store.Newest()->manifest().generation, 1);
}

TEST(VersionStoreTest, AnotherJobsWeightsAreRefusedUntilTheStoreIsCleared) {
  VersionStore store;
  ASSERT_TRUE(store.Install(MakeImage(5, 1)).ok());
  EXPECT_EQ(store.Install(MakeImage(0, 1, 0, "sort-2")).code(),
            absl::StatusCode::kFailedPrecondition);
  store.Clear();
  EXPECT_TRUE(store.Install(MakeImage(0, 1, 0, "sort-2")).ok());
}

}  // namespace
}  // namespace dtrpo::weights
