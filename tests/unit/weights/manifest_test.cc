#include "common/weights/manifest.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::weights {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMaxBytes = uint64_t{1} << 30;

Manifest TwoTensors() {
  Manifest manifest;
  manifest.job_id = "add-1";
  manifest.version = 3;
  manifest.sha256 = std::string(64, 'a');
  manifest.tensors = {{.name = "embed", .dtype = "F32", .shape = {3, 5}},
                      {.name = "norm", .dtype = "BF16", .shape = {7}}};
  EXPECT_TRUE(LayOut(manifest).ok());
  return manifest;
}

TEST(ManifestTest, LaysTensorsOutAlignedAndInOrder) {
  const Manifest manifest = TwoTensors();
  EXPECT_EQ(manifest.tensors[0].offset_bytes, 0u);
  EXPECT_EQ(manifest.tensors[0].size_bytes, 60u);
  EXPECT_EQ(manifest.tensors[1].offset_bytes, 64u);
  EXPECT_EQ(manifest.size_bytes, 64u + 14u);
  EXPECT_TRUE(Validate(manifest, kMaxBytes).ok());
}

TEST(ManifestTest, LastChunkIsShorter) {
  Manifest manifest = TwoTensors();
  manifest.chunk_size_bytes = 50;
  EXPECT_EQ(manifest.ChunkCount(), 2u);
  EXPECT_EQ(manifest.ChunkBytes(0), 50u);
  EXPECT_EQ(manifest.ChunkBytes(1), 28u);
}

TEST(ManifestTest, RefusesWhatABrokenPeerCouldSendAndNamesIt) {
  struct Case {
    std::function<void(Manifest&)> damage;
    std::string message;
  };
  const Case cases[] = {
      {[](Manifest& m) { m.job_id.clear(); }, "job_id"},
      {[](Manifest& m) { m.version = -1; }, "version is negative"},
      {[](Manifest& m) { m.sha256 = "abc"; }, "sha256"},
      {[](Manifest& m) { m.size_bytes = kMaxBytes + 1; }, "size_bytes"},
      {[](Manifest& m) { m.chunk_size_bytes = 0; }, "chunk_size_bytes"},
      {[](Manifest& m) { m.chunk_size_bytes = uint64_t{1} << 40; }, "chunk_size_bytes"},
      {[](Manifest& m) { m.tensors.clear(); }, "no tensor"},
      {[](Manifest& m) { m.tensors[1].name = "embed"; }, "repeated"},
      {[](Manifest& m) { m.tensors[1].dtype = "I8"; }, "unknown dtype 'I8'"},
      {[](Manifest& m) { m.tensors[1].shape = {-7}; }, "extent -7"},
      {[](Manifest& m) {
         m.tensors[1].shape = {int64_t{1} << 40, int64_t{1} << 40};
       },
       "extent"},
      {[](Manifest& m) { m.tensors[1].shape = std::vector<int64_t>(9, 1); }, "rank 9"},
      {[](Manifest& m) { m.tensors[1].size_bytes = 16; }, "its shape says 14"},
      {[](Manifest& m) { m.tensors[1].offset_bytes = 0; }, "overlaps"},
      {[](Manifest& m) { m.tensors[1].offset_bytes = 65; }, "isn't aligned"},
      {[](Manifest& m) { m.tensors[1].offset_bytes = 128; }, "leaves the image"},
  };
  for (const Case& c : cases) {
    Manifest manifest = TwoTensors();
    c.damage(manifest);
    const absl::Status status = Validate(manifest, kMaxBytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace dtrpo::weights
