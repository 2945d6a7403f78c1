// A model that draws every token from one distribution, whatever came before: what it answers can
// be worked out by hand.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/training/training_state.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::rollout {

inline constexpr char kExample[] = DTRPO_SOURCE_DIR "/examples/arithmetic/base";

// In the example's vocabulary.
inline constexpr int32_t kStop = 274;
inline constexpr int32_t kMask = 275;

// Writes a checkpoint with the example's tokenizer whose logits are `logits`, and -30 for all other
// tokens: the hidden state is all ones everywhere, and so row t of the head times their number.
inline void WriteUnigramCheckpoint(const std::string& path,
                                   const std::map<int32_t, double>& logits) {
  support::WriteTinyCheckpoint(path, {.tokenizer_from = kExample, .tied = false});
  const auto folder = checkpoint::CheckpointFolder::Open(path);
  DTRPO_CHECK_OK(folder);
  const auto model = model::Transformer::Random(folder->descriptor(), 1, {});
  DTRPO_CHECK_OK(model);
  for (const auto& [name, parameter] : (*model)->NamedParameters()) {
    torch::Tensor tensor = parameter;
    if (absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "norm")) tensor.fill_(1);
    if (absl::StrContains(name, "o_proj") || absl::StrContains(name, "down_proj")) tensor.zero_();
    if (!absl::StrContains(name, "lm_head")) continue;
    tensor.fill_(-30.0 / static_cast<double>(tensor.size(1)));
    for (const auto& [token, logit] : logits) {
      tensor[token].fill_(logit / static_cast<double>(tensor.size(1)));
    }
  }
  DTRPO_CHECK_OK(training::WriteTrainingCheckpoint(base::PosixFileSystem(), path, **model, *folder,
                                                   /*optimizer=*/nullptr, {}));
}

}  // namespace dtrpo::rollout
