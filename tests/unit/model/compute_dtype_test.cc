#include "common/model/compute_dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/model/checkpoint_tensors.h"

namespace dtrpo::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({"architectures": ["SDARForCausalLM"], "model_type": "sdar",
  "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
  "intermediate_size": 8, "vocab_size": 11, "rope_theta": 100, "rms_norm_eps": 1e-6,
  "block_size": 4, "mask_token_id": 3, "eos_token_id": 2, "torch_dtype": "bfloat16"})";

// A folder whose tensors have these types; none: without tensors.
checkpoint::CheckpointFolder Folder(const std::vector<torch::Dtype>& dtypes) {
  base::MemoryFileSystem files;
  NamedTensors tensors;
  for (const torch::Dtype dtype : dtypes) {
    tensors.emplace_back(std::to_string(tensors.size()), torch::ones({2}, dtype));
  }
  checkpoint::CheckpointContents contents;
  contents.weights = TensorViews(tensors);
  contents.extra_files["config.json"] = kConfig;
  EXPECT_TRUE(checkpoint::WriteCheckpoint(&files, "m", contents).ok());
  return (tensors.empty() ? checkpoint::CheckpointFolder::OpenWithoutTensors("m", {}, &files)
                          : checkpoint::CheckpointFolder::Open("m", {}, &files))
      .value();
}

ComputeDtype Auto(const std::vector<torch::Dtype>& dtypes) {
  return ChooseDtype("auto", Folder(dtypes)).value();
}

TEST(ComputeDtypeTest, AutoKeepsTheCheckpointsOwnWhereItIsComputedIn) {
  EXPECT_EQ(Auto({torch::kFloat32, torch::kFloat32}).dtype, torch::kFloat32);
  EXPECT_EQ(Auto({torch::kBFloat16, torch::kBFloat16}).dtype, torch::kBFloat16);
  EXPECT_TRUE(Auto({torch::kBFloat16}).native);
  EXPECT_EQ(ChooseDtype("", Folder({torch::kBFloat16}))->dtype, torch::kBFloat16);
  EXPECT_EQ(Auto({}).dtype, torch::kBFloat16);  // as config.json says
}

TEST(ComputeDtypeTest, AutoTakesFloat32ForTheRestAndSaysWhy) {
  const ComputeDtype half = Auto({torch::kFloat16});
  EXPECT_EQ(half.dtype, torch::kFloat32);
  EXPECT_FALSE(half.native);
  EXPECT_THAT(half.why, AllOf(HasSubstr("float16"), HasSubstr("not computed in")));
  const ComputeDtype mixed = Auto({torch::kBFloat16, torch::kFloat32});
  EXPECT_EQ(mixed.dtype, torch::kFloat32);
  EXPECT_THAT(mixed.why, HasSubstr("bfloat16 and float32"));
  EXPECT_EQ(Auto({torch::kFloat64}).dtype, torch::kFloat32);
}

TEST(ComputeDtypeTest, AWordWinsOverTheCheckpoint) {
  EXPECT_EQ(ChooseDtype("float32", Folder({torch::kBFloat16}))->dtype, torch::kFloat32);
  EXPECT_EQ(ChooseDtype("bfloat16", Folder({torch::kFloat32}))->dtype, torch::kBFloat16);
  EXPECT_THAT(ChooseDtype("float16", Folder({torch::kFloat32})).status().message(),
              AllOf(HasSubstr("'float16'"), HasSubstr("auto, float32, bfloat16")));
}

TEST(ComputeDtypeTest, NamesAreThoseOfConfigJson) {
  EXPECT_EQ(DtypeName(torch::kFloat32), "float32");
  EXPECT_EQ(DtypeName(torch::kBFloat16), "bfloat16");
  EXPECT_EQ(DtypeName(torch::kFloat16), "float16");
  EXPECT_EQ(DtypeName(torch::kFloat64), "float64");
}

}  // namespace
}  // namespace dtrpo::model
