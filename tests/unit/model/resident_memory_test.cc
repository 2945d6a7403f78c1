// Weights stored as bfloat16 are used where they are mapped: loading takes no copy of them.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/transformer.h"

namespace dtrpo::model {
namespace {

constexpr int64_t kVocabulary = int64_t{1} << 15;
constexpr int64_t kHidden = 1024;  // 64 MiB of embedding in bfloat16

// Bytes of this process in memory: "RssAnon" are copies, "RssFile" the touched parts of files.
int64_t Resident(const std::string& kind) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == kind + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

// A folder with a model that is an embedding and hardly more. Returns the tensors' bytes.
int64_t WriteCheckpoint(const std::string& path) {
  const torch::Dtype dtype = torch::kBFloat16;
  const std::string layer = "model.layers.0.";
  const NamedTensors tensors = {
      {"model.embed_tokens.weight", torch::ones({kVocabulary, kHidden}, dtype)},
      {layer + "input_layernorm.weight", torch::ones({kHidden}, dtype)},
      {layer + "self_attn.q_proj.weight", torch::ones({4, kHidden}, dtype)},
      {layer + "self_attn.k_proj.weight", torch::ones({4, kHidden}, dtype)},
      {layer + "self_attn.v_proj.weight", torch::ones({4, kHidden}, dtype)},
      {layer + "self_attn.q_norm.weight", torch::ones({4}, dtype)},
      {layer + "self_attn.k_norm.weight", torch::ones({4}, dtype)},
      {layer + "self_attn.o_proj.weight", torch::ones({kHidden, 4}, dtype)},
      {layer + "post_attention_layernorm.weight", torch::ones({kHidden}, dtype)},
      {layer + "mlp.gate_proj.weight", torch::ones({4, kHidden}, dtype)},
      {layer + "mlp.up_proj.weight", torch::ones({4, kHidden}, dtype)},
      {layer + "mlp.down_proj.weight", torch::ones({kHidden, 4}, dtype)},
      {"model.norm.weight", torch::ones({kHidden}, dtype)}};
  checkpoint::CheckpointContents contents;
  contents.tensor_files["model.safetensors"] = TensorViews(tensors);
  contents.extra_files["config.json"] = absl::StrCat(
      R"({"architectures": ["SDARForCausalLM"], "model_type": "sdar", "num_hidden_layers": 1,
          "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4,
          "intermediate_size": 4, "rope_theta": 100, "rms_norm_eps": 1e-6,
          "tie_word_embeddings": true, "hidden_act": "silu", "block_size": 4, "mask_token_id": 3,
          "eos_token_id": 2, "vocab_size": )",
      kVocabulary, R"(, "hidden_size": )", kHidden, "}");
  const absl::Status written =
      checkpoint::WriteCheckpoint(base::PosixFileSystem(), path, contents, {.overwrite = true});
  DTRPO_CHECK(written.ok()) << written;
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

class ResidentMemoryTest : public ::testing::Test {
 protected:
  ResidentMemoryTest()
      : path_(absl::StrCat(::testing::TempDir(), "dtrpo_resident_memory_", getpid())),
        bytes_(WriteCheckpoint(path_)) {}
  ~ResidentMemoryTest() override { std::filesystem::remove_all(path_); }

  std::unique_ptr<Transformer> Load(torch::Dtype dtype) {
    auto folder = checkpoint::CheckpointFolder::Open(path_);
    DTRPO_CHECK_OK(folder);
    auto model = Transformer::Load(*folder, {.dtype = dtype});
    DTRPO_CHECK_OK(model);
    return *std::move(model);
  }

  const std::string path_;
  const int64_t bytes_;
};

TEST_F(ResidentMemoryTest, Bfloat16WeightsStayWhereTheyAreMapped) {
  const int64_t copies = Resident("RssAnon"), files = Resident("RssFile");
  const auto model = Load(torch::kBFloat16);
  EXPECT_EQ(model->HeadWeight().scalar_type(), torch::kBFloat16);
  const int64_t new_copies = Resident("RssAnon") - copies;
  const int64_t new_files = Resident("RssFile") - files;
  EXPECT_LE(new_copies + new_files, bytes_ * 115 / 100);
  EXPECT_LE(new_copies, bytes_ / 10);
}

// The measurement does see copies.
TEST_F(ResidentMemoryTest, Float32OfBfloat16WeightsIsACopy) {
  const int64_t copies = Resident("RssAnon");
  const auto model = Load(torch::kFloat32);
  EXPECT_GE(Resident("RssAnon") - copies, 2 * bytes_ * 9 / 10);
}

}  // namespace
}  // namespace dtrpo::model
