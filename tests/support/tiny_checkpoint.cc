#include "tests/support/tiny_checkpoint.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/training/training_state.h"

namespace dtrpo::support {
namespace {

std::string Config(const TinyCheckpoint& options) {
  const bool text = !options.tokenizer_from.empty();
  return absl::StrCat(R"({"architectures": ["Fast_dLLM_QwenForCausalLM"],
 "model_type": "Fast_dLLM_Qwen", "bd_size": 4, "hidden_size": 16, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32,
 "max_position_embeddings": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
 "hidden_act": "silu", "torch_dtype": "float32", "initializer_range": 0.2,
 "vocab_size": )",
                      text ? 280 : 40, R"(, "mask_token_id": )", text ? 275 : 39,
                      R"(, "eos_token_id": )", text ? 274 : 38, R"(, "pad_token_id": )",
                      text ? 272 : 37, R"(, "tie_word_embeddings": )",
                      options.tied ? "true" : "false", "}\n");
}

}  // namespace

void WriteTinyCheckpoint(const std::string& path, const TinyCheckpoint& options) {
  base::FileSystem* files = base::PosixFileSystem();
  DTRPO_CHECK_OK(files->RemoveTree(path));
  DTRPO_CHECK_OK(files->MakeDirectories(path));
  const auto write = [&](const std::string& name, const std::string& content) {
    DTRPO_CHECK_OK(base::WriteFileAtomically(files, base::JoinPath(path, name), content));
  };
  write("config.json", Config(options));
  if (!options.tokenizer_from.empty()) {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "added_tokens.json"}) {
      const auto content = files->Read(base::JoinPath(options.tokenizer_from, name));
      DTRPO_CHECK_OK(content);
      write(name, *content);
    }
  }
  const auto folder = checkpoint::CheckpointFolder::OpenWithoutTensors(path);
  DTRPO_CHECK_OK(folder);
  const auto model = model::Transformer::Random(folder->descriptor(), options.seed, {});
  DTRPO_CHECK_OK(model);
  DTRPO_CHECK_OK(
      training::WriteTrainingCheckpoint(files, path, **model, *folder, /*optimizer=*/nullptr, {}));
}

std::unique_ptr<model::Transformer> LoadModel(const std::string& path, bool requires_grad) {
  const auto folder = checkpoint::CheckpointFolder::Open(path);
  DTRPO_CHECK_OK(folder);
  auto model = model::Transformer::Load(*folder, {.requires_grad = requires_grad});
  DTRPO_CHECK_OK(model);
  return *std::move(model);
}

TrajectoryShape TinyShape() { return {.vocabulary_size = 40, .mask_id = 39, .stop_id = 38}; }

trajectory::PreferencePair TinyPair(uint64_t seed, int64_t version) {
  trajectory::PreferencePair pair{.id = absl::StrCat("job/0/", seed, "/0/p0"),
                                  .chosen = RandomTrajectory(TinyShape(), 2 * seed),
                                  .rejected = RandomTrajectory(TinyShape(), 2 * seed + 1)};
  pair.rejected.prompt_tokens = pair.chosen.prompt_tokens;
  pair.chosen.reward = 1;
  pair.chosen.weights_version = pair.rejected.weights_version = {version};
  return pair;
}

std::string TestFolder() {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string path =
      absl::StrCat(testing::TempDir(), "dtrpo_", test->test_suite_name(), "_", test->name());
  DTRPO_CHECK_OK(base::PosixFileSystem()->RemoveTree(path));
  DTRPO_CHECK_OK(base::PosixFileSystem()->MakeDirectories(path));
  return path;
}

}  // namespace dtrpo::support
