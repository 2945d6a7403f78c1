#include "common/weights/image.h"

#include <cstring>

#include "common/base/crc32c.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::weights {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const Image> MakeImage() {
  Manifest manifest;
  manifest.job_id = "add-1";
  manifest.version = 1;
  manifest.chunk_size_bytes = 1024;
  manifest.tensors = {{.name = "a", .dtype = "F32", .shape = {300}},
                      {.name = "b", .dtype = "F32", .shape = {5, 101}}};
  EXPECT_TRUE(LayOut(manifest).ok());
  StagingArea area(manifest);
  for (const TensorSpec& tensor : manifest.tensors) {
    auto bytes = area.MutableTensor(tensor);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + tensor.name[0]);
  }
  return *area.Finish();
}

TEST(ImageTest, ChunksPutTogetherElsewhereGiveTheSameImage) {
  const auto image = MakeImage();
  StagingArea area(image->manifest());
  for (uint64_t i = 0; i < image->manifest().ChunkCount(); ++i) {
    ASSERT_TRUE(area.AddChunk(i, image->Chunk(i), base::Crc32c(image->Chunk(i))).ok());
  }
  const auto copy = area.Finish();
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_TRUE(SameBits((*copy)->manifest(), image->manifest()));
  EXPECT_EQ((*copy)->bytes(), image->bytes());
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*copy)->bytes().data()) % kTensorAlignmentBytes, 0u);
}

TEST(ImageTest, AChunkOutOfOrderIsRefused) {
  const auto image = MakeImage();
  StagingArea area(image->manifest());
  const auto status = area.AddChunk(1, image->Chunk(1), base::Crc32c(image->Chunk(1)));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("chunk 1 came, chunk 0"));
}

TEST(ImageTest, AChunkWithAFlippedBitIsDataLoss) {
  const auto image = MakeImage();
  StagingArea area(image->manifest());
  std::string damaged(image->Chunk(0));
  damaged[17] ^= 1;
  EXPECT_EQ(area.AddChunk(0, damaged, base::Crc32c(image->Chunk(0))).code(),
            absl::StatusCode::kDataLoss);
}

TEST(ImageTest, AnIncompleteImageIsNeverHandedOut) {
  const auto image = MakeImage();
  StagingArea area(image->manifest());
  ASSERT_TRUE(area.AddChunk(0, image->Chunk(0), base::Crc32c(image->Chunk(0))).ok());
  EXPECT_EQ(area.Finish().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ImageTest, GoodChunksOfTheWrongWholeAreDataLoss) {
  const auto image = MakeImage();
  Manifest lying = image->manifest();
  lying.sha256 = std::string(64, '0');
  StagingArea area(lying);
  for (uint64_t i = 0; i < lying.ChunkCount(); ++i) {
    ASSERT_TRUE(area.AddChunk(i, image->Chunk(i), base::Crc32c(image->Chunk(i))).ok());
  }
  EXPECT_EQ(area.Finish().status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace dtrpo::weights
