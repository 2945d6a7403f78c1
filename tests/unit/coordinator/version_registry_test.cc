#include "services/coordinator/version_registry.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/retry_after.h"

namespace dtrpo::coordinator {
namespace {

v1::WeightsManifest Manifest(int64_t version, const std::string& sha256, int64_t generation = 0) {
  v1::WeightsManifest manifest;
  manifest.set_job_id("add-1");
  manifest.set_version(version);
  manifest.set_sha256(sha256);
  manifest.set_generation(generation);
  manifest.add_tensors()->set_name("w");
  return manifest;
}

TEST(VersionRegistryTest, TheNewestIsTheBaseModelBeforeAnythingIsRegistered) {
  VersionRegistry versions;
  EXPECT_EQ(versions.newest(), 0);
  EXPECT_EQ(versions.newest_manifest().sha256(), "");
}

TEST(VersionRegistryTest, KeepsTheNewestWithoutItsTensors) {
  VersionRegistry versions;
  ASSERT_TRUE(versions.Register(Manifest(0, "a")).ok());
  ASSERT_TRUE(versions.Register(Manifest(1, "b")).ok());
  EXPECT_EQ(versions.newest(), 1);
  EXPECT_EQ(versions.newest_manifest().sha256(), "b");
  EXPECT_EQ(versions.newest_manifest().tensors_size(), 0);
}

TEST(VersionRegistryTest, TheSameNumberWithTheSameBitsChangesNothing) {
  VersionRegistry versions;
  ASSERT_TRUE(versions.Register(Manifest(0, "a")).ok());
  ASSERT_TRUE(versions.Register(Manifest(1, "b")).ok());
  EXPECT_TRUE(versions.Register(Manifest(0, "a")).ok());
  EXPECT_EQ(versions.newest(), 1);
}

TEST(VersionRegistryTest, OtherBitsUnderANumberNeedAHigherGeneration) {
  VersionRegistry versions;
  ASSERT_TRUE(versions.Register(Manifest(1, "a")).ok());
  const absl::Status status = versions.Register(Manifest(1, "b")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(base::GetReason(status), "version_conflict");
  EXPECT_EQ(versions.newest_manifest().sha256(), "a");
  EXPECT_EQ(*versions.Register(Manifest(1, "b", 1)), VersionRegistry::Outcome::kReplaced);
  EXPECT_EQ(versions.newest_manifest().sha256(), "b");
}

TEST(VersionRegistryTest, AReplacedVersionTakesThoseMadeFromItAway) {
  VersionRegistry versions;
  for (int64_t version : {1, 2, 3}) {
    ASSERT_TRUE(versions.Register(Manifest(version, "a")).ok());
  }
  ASSERT_TRUE(versions.Register(Manifest(2, "b", 1)).ok());
  EXPECT_EQ(versions.newest(), 2);
  EXPECT_FALSE(versions.Has(3));
}

TEST(VersionRegistryTest, NumbersHaveNoGaps) {
  VersionRegistry versions;
  ASSERT_TRUE(versions.Register(Manifest(0, "a")).ok());
  EXPECT_EQ(base::GetReason(versions.Register(Manifest(2, "c")).status()), "version_gap");
}

TEST(VersionRegistryTest, RefusesNegativeNumbersAndMissingChecksums) {
  VersionRegistry versions;
  EXPECT_TRUE(absl::IsInvalidArgument(versions.Register(Manifest(-1, "a")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(versions.Register(Manifest(0, "")).status()));
}

}  // namespace
}  // namespace dtrpo::coordinator
