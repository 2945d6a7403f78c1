// Loading needs at most 1.15 times the bytes of the weights as they are computed with. Weights
// stored in that type are used where they are mapped, without a copy; others are converted one by
// one.
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

constexpr int64_t kVocabulary = int64_t{1} << 14;
constexpr int64_t kHidden = 1024;  // 32 MiB of embedding in bfloat16, and as much of head

// Bytes of this process in memory: "RssAnon" are copies, "RssFile" the touched parts of files.
int64_t Resident(const std::string& kind) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == kind + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

// A folder with a model that is an embedding, a head and hardly more. Returns the tensors' bytes.
int64_t WriteCheckpoint(const std::string& path, torch::Dtype dtype, int64_t max_shard_bytes) {
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
      {"model.norm.weight", torch::ones({kHidden}, dtype)},
      {"lm_head.weight", torch::ones({kVocabulary, kHidden}, dtype)}};
  checkpoint::CheckpointContents contents;
  contents.weights = TensorViews(tensors);
  contents.max_shard_bytes = max_shard_bytes;
  contents.extra_files["config.json"] = absl::StrCat(
      R"({"architectures": ["SDARForCausalLM"], "model_type": "sdar", "num_hidden_layers": 1,
          "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4,
          "intermediate_size": 4, "rope_theta": 100, "rms_norm_eps": 1e-6,
          "tie_word_embeddings": false, "hidden_act": "silu", "block_size": 4, "mask_token_id": 3,
          "eos_token_id": 2, "vocab_size": )",
      kVocabulary, R"(, "hidden_size": )", kHidden, "}");
  const absl::Status written =
      checkpoint::WriteCheckpoint(base::PosixFileSystem(), path, contents, {.overwrite = true});
  DTRPO_CHECK(written.ok()) << written;
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

struct Case {
  torch::Dtype stored, computed;
  bool sharded = false;
  bool trained = false;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c10::toString(c.stored) << " computed in " << c10::toString(c.computed)
       << (c.sharded ? ", sharded" : "") << (c.trained ? ", trained" : "");
}

class ResidentMemoryTest : public ::testing::TestWithParam<Case> {
 protected:
  ResidentMemoryTest()
      : path_(absl::StrCat(::testing::TempDir(), "dtrpo_resident_memory_", getpid())),
        stored_(WriteCheckpoint(path_, GetParam().stored, GetParam().sharded ? 1 << 20 : 0)) {}
  ~ResidentMemoryTest() override { std::filesystem::remove_all(path_); }

  const std::string path_;
  const int64_t stored_;  // bytes of the weights
};

TEST_P(ResidentMemoryTest, IsAtMostTheWeightsBytesAndAFewPercent) {
  const Case& c = GetParam();
  const int64_t weights =
      stored_ / static_cast<int64_t>(c10::elementSize(c.stored)) * c10::elementSize(c.computed);
  auto folder = checkpoint::CheckpointFolder::Open(path_);
  DTRPO_CHECK_OK(folder);
  EXPECT_EQ(std::filesystem::exists(path_ + "/model.safetensors"), !c.sharded);
  const int64_t copies = Resident("RssAnon"), files = Resident("RssFile");
  const auto model = Transformer::Load(*folder, {.dtype = c.computed, .requires_grad = c.trained});
  DTRPO_CHECK_OK(model);
  EXPECT_EQ((*model)->HeadWeight().scalar_type(), c.computed);
  const int64_t new_copies = Resident("RssAnon") - copies;
  const int64_t new_files = Resident("RssFile") - files;
  EXPECT_LE(new_copies + new_files, weights * 115 / 100);
  if (c.stored == c.computed && !c.trained) {
    EXPECT_LE(new_copies, weights / 10);
  } else {
    EXPECT_GE(new_copies, weights * 9 / 10);  // the measurement does see copies
  }
}

constexpr auto kF32 = torch::kFloat32;
constexpr auto kBF16 = torch::kBFloat16;

INSTANTIATE_TEST_SUITE_P(Cases, ResidentMemoryTest,
                         ::testing::Values(Case{kBF16, kBF16}, Case{kBF16, kBF16, true},
                                           Case{kF32, kF32}, Case{kF32, kF32, true},
                                           Case{kBF16, kF32}, Case{kBF16, kF32, true},
                                           Case{kF32, kBF16}, Case{torch::kFloat16, kF32},
                                           Case{kF32, kF32, false, true},
                                           Case{kBF16, kF32, true, true}));

}  // namespace
}  // namespace dtrpo::model
