#include "common/dtrpo/remask.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::objective {
namespace {

using model::KeyRange;
using trajectory::BlockPlan;
using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::ResponseBlock;
using trajectory::ScoredState;
using trajectory::Trajectory;

template <typename... Words>
absl::Status Refuse(const Trajectory& t, const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat("trajectory '", t.id, "': ", words...));
}

absl::Status CheckTokens(const Trajectory& t, const char* field, const std::vector<int32_t>& tokens,
                         int64_t vocabulary_size) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary_size) {
      return Refuse(t, field, ": token id ", token, " is outside the model's vocabulary of ",
                    vocabulary_size);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBlock(const Trajectory& t, int64_t index, const ResponseBlock& block,
                        const BlockPlan& plan, int32_t logit_shift) {
  if (plan.block.begin != block.begin || plan.block.end != block.end) {
    return Refuse(t, "its plan was made for another layout of block ", index);
  }
  if (plan.first_token >= 0) {
    if (logit_shift == 0) {
      return Refuse(t, "unmask_step: block ", index,
                    " has a block-first token (step 0), but the model has no token shift");
    }
    if (plan.first_token != block.begin || !block.starts_in_response) {
      return Refuse(t, "its plan names ", plan.first_token, " as the first token of block ", index);
    }
  }
  for (const ScoredState& state : plan.states) {
    if (state.block != index || state.step < 1) {
      return Refuse(t, "its plan holds step ", state.step, " of block ", state.block, " in block ",
                    index);
    }
    for (const int64_t target : state.targets) {
      if (target < block.begin || target >= block.end || t.unmask_step[target] < state.step) {
        return Refuse(t, "its plan has target ", target, ", which isn't masked before step ",
                      state.step, " of block ", index);
      }
      if (logit_shift == 1 && target == block.begin && block.starts_in_response) {
        return Refuse(t, "unmask_step: with token shift the first token of block ", index,
                      " has step 0, not ", t.unmask_step[target]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckInput(const ScoreInput& input, const RemaskOptions& options) {
  const Trajectory& t = *input.trajectory;
  if (t.block_origin != trajectory::BlockOrigin::kAbsolute) {
    return Refuse(t, "block_origin: block-causal models need absolute blocks");
  }
  if (t.prompt_tokens.empty()) return Refuse(t, "prompt_tokens: is empty");
  if (t.block_size < 1 || t.unmask_step.size() != t.response_tokens.size() ||
      (t.prompt_tokens.size() + t.response_tokens.size()) % t.block_size != 0) {
    return Refuse(t, "block_size, unmask_step and response_tokens don't fit each other");
  }
  DTRPO_RETURN_IF_ERROR(CheckTokens(t, "prompt_tokens", t.prompt_tokens, options.vocabulary_size));
  DTRPO_RETURN_IF_ERROR(
      CheckTokens(t, "response_tokens", t.response_tokens, options.vocabulary_size));
  const std::vector<ResponseBlock> blocks = ResponseBlocks(t);
  if (blocks.size() != input.plan->blocks.size()) {
    return Refuse(t, "its plan has ", input.plan->blocks.size(), " blocks, the response ",
                  blocks.size());
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    DTRPO_RETURN_IF_ERROR(CheckBlock(t, static_cast<int64_t>(b), blocks[b], input.plan->blocks[b],
                                     options.logit_shift));
  }
  return absl::OkStatus();
}

class Layout {
 public:
  explicit Layout(const RemaskOptions& options) : options_(options) {}

  void Add(const ScoreInput& input) {
    const Trajectory& t = *input.trajectory;
    const std::vector<BlockPlan>& blocks = input.plan->blocks;
    const KeyRange prompt = AddPrompt(t);
    const KeyRange clean = AddCleanBlocks(t, blocks, prompt);
    // Last rows of the prompt or block before, for block-first tokens.
    int64_t clean_last = prompt.end - 1;
    int64_t noisy_last = clean_last;
    for (size_t b = 0; b < blocks.size(); ++b) {
      const BlockPlan& plan = blocks[b];
      if (plan.first_token >= 0) {
        AddTarget(options_.boundary == Boundary::kNoisy ? noisy_last : clean_last,
                  t.response_tokens[plan.first_token]);
      }
      clean_last = clean.begin + static_cast<int64_t>(b + 1) * t.block_size - 1;
      noisy_last = clean_last;
      for (size_t k = 0; k < plan.states.size(); ++k) {
        const int64_t end = AddState(t, plan, plan.states[k], prompt, clean.begin);
        if (k == 0) noisy_last = end - 1;
      }
    }
  }

  RemaskedBatch Take() { return std::move(batch_); }

 private:
  int64_t RowCount() const { return static_cast<int64_t>(batch_.rows.token_ids.size()); }

  void AddRow(int64_t token, int64_t position) {
    batch_.rows.token_ids.push_back(token);
    batch_.rows.positions.push_back(position);
  }

  void AddTarget(int64_t row, int64_t token) {
    batch_.target_rows.push_back(row);
    batch_.target_tokens.push_back(token);
  }

  // Ends a segment that began at row `begin`. Empty key ranges are left out, touching ones joined.
  void EndSegment(int64_t begin, std::initializer_list<KeyRange> keys) {
    model::Segment segment;
    segment.begin = begin;
    segment.end = RowCount();
    for (const KeyRange& range : keys) {
      if (range.begin == range.end) continue;
      if (!segment.keys.empty() && segment.keys.back().end == range.begin) {
        segment.keys.back().end = range.end;
      } else {
        segment.keys.push_back(range);
      }
    }
    batch_.rows.segments.push_back(std::move(segment));
  }

  // The prompt's whole blocks: rows free of the response, so any answer to the same prompt may use
  // them.
  KeyRange AddPrompt(const Trajectory& t) {
    const int64_t rows = static_cast<int64_t>(t.prompt_tokens.size()) / t.block_size * t.block_size;
    std::vector<int32_t> tokens(t.prompt_tokens.begin(), t.prompt_tokens.begin() + rows);
    const auto [entry, is_new] =
        prompts_.try_emplace({t.block_size, std::move(tokens)}, RowCount());
    const int64_t base = entry->second;
    for (int64_t row = 0; is_new && row < rows; row += t.block_size) {
      const int64_t begin = RowCount();
      for (int64_t i = row; i < row + t.block_size; ++i) AddRow(t.prompt_tokens[i], i);
      EndSegment(begin, {{base, base + row + t.block_size}});
    }
    return {base, base + rows};
  }

  void AddPromptTail(const Trajectory& t, const ResponseBlock& block) {
    const int64_t tail = block.rows - (block.end - block.begin);
    for (int64_t r = 0; r < tail; ++r) {
      AddRow(t.prompt_tokens[block.position + r], block.position + r);
    }
  }

  // Clean response blocks before the last one that the plan scores anything in.
  KeyRange AddCleanBlocks(const Trajectory& t, const std::vector<BlockPlan>& blocks,
                          const KeyRange& prompt) {
    size_t count = 0;
    for (size_t b = 0; b < blocks.size(); ++b) {
      if (blocks[b].first_token >= 0 || !blocks[b].states.empty()) count = b;
    }
    const int64_t base = RowCount();
    for (size_t b = 0; b < count; ++b) {
      const ResponseBlock& block = blocks[b].block;
      const int64_t begin = RowCount();
      AddPromptTail(t, block);
      for (int64_t i = block.begin; i < block.end; ++i) {
        AddRow(t.response_tokens[i], PositionOf(block, i));
      }
      EndSegment(begin, {prompt, {base, RowCount()}});
    }
    return {base, RowCount()};
  }

  // One re-masked block and its targets. Returns the end of its rows.
  int64_t AddState(const Trajectory& t, const BlockPlan& plan, const ScoredState& state,
                   const KeyRange& prompt, int64_t clean_begin) {
    const ResponseBlock& block = plan.block;
    const int64_t begin = RowCount();
    AddPromptTail(t, block);
    for (int64_t i = block.begin; i < block.end; ++i) {
      const int32_t step = t.unmask_step[i];
      const bool masked = step >= state.step || step == trajectory::kNeverCommitted;
      AddRow(masked ? options_.mask_id : t.response_tokens[i], PositionOf(block, i));
    }
    const int64_t clean_end = clean_begin + state.block * block.rows;
    EndSegment(begin, {prompt, {clean_begin, clean_end}, {begin, RowCount()}});
    for (const int64_t i : state.targets) {
      const int64_t row = begin + (PositionOf(block, i) - block.position);
      AddTarget(row - options_.logit_shift, t.response_tokens[i]);
    }
    return RowCount();
  }

  static int64_t PositionOf(const ResponseBlock& block, int64_t i) {
    return block.position + block.rows - (block.end - i);
  }

  const RemaskOptions options_;
  RemaskedBatch batch_;
  std::map<std::pair<int32_t, std::vector<int32_t>>, int64_t> prompts_;  // -> first row
};

}  // namespace

absl::StatusOr<RemaskedBatch> Remask(absl::Span<const ScoreInput> inputs,
                                     const RemaskOptions& options) {
  DTRPO_CHECK(options.logit_shift == 0 || options.logit_shift == 1);
  Layout layout(options);
  for (const ScoreInput& input : inputs) {
    DTRPO_CHECK(input.trajectory != nullptr && input.plan != nullptr);
    DTRPO_RETURN_IF_ERROR(CheckInput(input, options));
    layout.Add(input);
  }
  return layout.Take();
}

}  // namespace dtrpo::objective
