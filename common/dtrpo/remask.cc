#include "common/dtrpo/remask.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/dtrpo/plan_checks.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::objective {
namespace {

using model::KeyRange;
using trajectory::BlockPlan;
using trajectory::Boundary;
using trajectory::ResponseBlock;
using trajectory::ScoredState;
using trajectory::Trajectory;

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
    auto masked = state.masked.begin();
    for (int64_t i = block.begin; i < block.end; ++i) {
      const bool is_masked = masked != state.masked.end() && *masked == i;
      if (is_masked) ++masked;
      AddRow(is_masked ? options_.mask_id : t.response_tokens[i], PositionOf(block, i));
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
    DTRPO_RETURN_IF_ERROR(CheckPlan(input, {.vocabulary_size = options.vocabulary_size,
                                            .block_origin = trajectory::BlockOrigin::kAbsolute,
                                            .first_tokens = options.logit_shift == 1}));
    layout.Add(input);
  }
  return layout.Take();
}

}  // namespace dtrpo::objective
