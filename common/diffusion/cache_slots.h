// Thread safety: one thread at a time. No torch.
//
// Who owns which rows of a KvCache. Two kinds of fixed-size slabs, as many of each as sequences:
//
//   [ prompt 0 | prompt 1 | ... | prompt n-1 | own 0 | own 1 | ... | own n-1 ]
//     rows [0, P0) of a prompt,                the rows from P0 on of one sequence
//     shared by all its samples
//
// Prompt rows are free of the response (block-causal attention), so samples of a prompt share them
// and they are computed once. A prompt slab nobody uses keeps its content until its place is
// needed: of the unused ones, the longest unused goes first.
//
// Letters: P0 prompt tokens rounded down to whole blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace dtrpo::diffusion {

class CacheSlots {
 public:
  struct Slot {
    int32_t prompt = -1;  // -1: the prompt has no whole block
    int32_t own = -1;
  };

  // Room for `sequences` at a time, with at most `prompt_rows` shared and `own_rows` own rows each.
  CacheSlots(int32_t sequences, int64_t prompt_rows, int64_t own_rows);

  int64_t capacity_rows() const;
  bool HasFree() const { return !free_own_.empty(); }

  // Slabs for a sequence whose prompt's whole blocks hold `prompt` [P0]. REQUIRES: HasFree().
  Slot Acquire(absl::Span<const int32_t> prompt);
  void Release(const Slot& slot);

  // First cache rows of the slabs.
  int64_t prompt_begin(int32_t prompt) const { return prompt * prompt_rows_; }
  int64_t own_begin(int32_t own) const;

  // Shared rows of the prompt slab, and how many of them hold keys and values already.
  absl::Span<const int32_t> prompt_tokens(int32_t prompt) const { return prompts_[prompt].tokens; }
  int64_t filled_rows(int32_t prompt) const { return prompts_[prompt].filled_rows; }
  void set_filled_rows(int32_t prompt, int64_t rows) { prompts_[prompt].filled_rows = rows; }
  bool IsFilled(const Slot& slot) const;

 private:
  struct Prompt {
    std::vector<int32_t> tokens;
    int64_t filled_rows = 0;
    int32_t users = 0;
    int64_t last_used = 0;  // value of clock_ when its last user left
  };

  int32_t FindPrompt(absl::Span<const int32_t> tokens) const;
  int32_t LongestUnused() const;

  const int64_t prompt_rows_;
  const int64_t own_rows_;
  std::vector<Prompt> prompts_;
  std::vector<int32_t> free_own_;
  int64_t clock_ = 0;
};

}  // namespace dtrpo::diffusion
