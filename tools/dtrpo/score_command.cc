#include "tools/dtrpo/score_command.h"

#include <torch/utils.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/wire/trajectory_codec.h"
#include "tools/dtrpo/trajectory_score.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
// Trajectories share a forward while their rows stay below this; a longer one has its own.
constexpr int64_t kMaxRows = 8192;

constexpr char kHelp[] =
    R"(Input lines are trajectories as `dtrpo generate` writes them. An output line has
  id, logprob          exact log-probability of the trajectory, or the estimate; vrpo: of the ELBO
  token_logprob        --exact: each response token at the state it was committed in, else absent
  blocks               of each response block: block, steps (T_b: steps with targets), drawn_steps,
                       terms (one per drawn step: log-probability of the targets it committed) and
                       first_token_term (of the block-first token at step 0, or null);
                       random masks: masked (targets each masks) instead of drawn_steps
logprob = sum over blocks of steps / (drawn steps) * sum of terms + first_token_term; with
draws from the sequence, steps and drawn steps are those of all blocks together.
Log-probabilities are natural, untempered, over the full vocabulary without the mask token.

Example: dtrpo score --model DIR --input t.jsonl --output s.jsonl --exact)";

bool IsBidirectional(const checkpoint::ModelDescriptor& descriptor) {
  return descriptor.attention == checkpoint::Attention::kBidirectional;
}

}  // namespace

void ScoreCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  AddAdapterOption(app, &model_);
  app->add_option("--input", input_path_, "trajectories, JSONL")->required()->type_name("FILE");
  app->add_option("--output", output_path_, "scores, JSONL; an existing file is replaced")
      ->required()
      ->type_name("FILE");
  app->add_option("--objective", objective_,
                  "whose states: dtrpo, exact (every step of every block), vrpo, random_mask")
      ->check(CLI::IsMember({"dtrpo", "exact", "vrpo", "random_mask"}))
      ->capture_default_str();
  CLI::Option* exact = app->add_flag_callback(
      "--exact", [this] { objective_ = "exact"; }, "the same as --objective exact");
  app->add_option("--draws", plan_.draws,
                  "K steps per block (see --draw-from), drawn without replacement; K >= T_b is "
                  "exact; vrpo, random_mask: masks per block")
      ->check(CLI::Range(1, 1 << 20))
      ->excludes(exact)
      ->type_name("K")
      ->capture_default_str();
  app->add_option("--draw-from", draw_from_,
                  "block: K steps of each block; sequence: K states of the whole answer; default: "
                  "block, and sequence for bidirectional models")
      ->check(CLI::IsMember({"block", "sequence"}))
      ->excludes(exact)
      ->type_name("WHAT");
  app->add_option("--seed", plan_.job_seed, "the job seed that the draws derive from")
      ->excludes(exact)
      ->type_name("S")
      ->capture_default_str();
}

absl::Status ScoreCommand::Run() {
  DTRPO_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(model_));
  DTRPO_ASSIGN_OR_RETURN(plan_.kind, trajectory::ParsePlanKind(objective_));
  if (!draw_from_.empty()) {
    DTRPO_ASSIGN_OR_RETURN(plan_.draw_from, trajectory::ParseDrawFrom(draw_from_));
  } else if (IsBidirectional(loaded.folder.descriptor())) {
    plan_.draw_from = trajectory::DrawFrom::kSequence;
  }
  DTRPO_ASSIGN_OR_RETURN(const std::vector<trajectory::Trajectory> trajectories,
                         ReadTrajectories(loaded.folder.descriptor()));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<base::WritableFile> output,
                         base::PosixFileSystem()->Create(output_path_));
  base::Clock* const clock = base::RealClock();
  const absl::Time start = clock->Now();
  absl::Time last_progress = start;
  int64_t forwards = 0;
  for (size_t begin = 0, end = 0; begin < trajectories.size(); begin = end, ++forwards) {
    int64_t rows = 0;
    do {
      rows += Rows(trajectories[end++]);
    } while (end < trajectories.size() && rows + Rows(trajectories[end]) <= kMaxRows);
    DTRPO_ASSIGN_OR_RETURN(
        const std::string lines,
        ScoreLines(*loaded.model, absl::MakeConstSpan(trajectories).subspan(begin, end - begin)));
    DTRPO_RETURN_IF_ERROR(output->Append(lines));
    if (clock->Now() - last_progress >= kProgressEvery) {
      last_progress = clock->Now();
      std::cerr << "score: " << end << " of " << trajectories.size() << " trajectories\n";
    }
  }
  DTRPO_RETURN_IF_ERROR(output->Close());
  std::cerr << absl::StrFormat("score: trajectories=%d forwards=%d seconds=%.3f",
                               trajectories.size(), forwards,
                               absl::ToDoubleSeconds(clock->Now() - start))
            << std::endl;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<trajectory::Trajectory>> ScoreCommand::ReadTrajectories(
    const checkpoint::ModelDescriptor& descriptor) const {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, base::PosixFileSystem()->Read(input_path_));
  std::vector<trajectory::Trajectory> trajectories;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const std::string where = absl::StrCat(input_path_, ":", number);
    DTRPO_ASSIGN_OR_RETURN(trajectory::Trajectory t,
                           base::Annotate(wire::FromJsonLine(line, descriptor.vocab_size), where));
    // The attention of a bidirectional model knows no blocks.
    if (t.block_size != descriptor.block_size && !IsBidirectional(descriptor)) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": field 'block_size': ", t.block_size,
                                                     ", but the model's is ",
                                                     descriptor.block_size));
    }
    trajectories.push_back(std::move(t));
  }
  if (trajectories.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(input_path_, ": no trajectories"));
  }
  return trajectories;
}

absl::StatusOr<std::string> ScoreCommand::ScoreLines(
    const model::Transformer& model, absl::Span<const trajectory::Trajectory> part) const {
  torch::NoGradGuard no_grad;
  std::vector<trajectory::MaskPlan> plans;
  for (const trajectory::Trajectory& t : part) plans.push_back(ScorePlan(t, plan_));
  std::vector<objective::ScoreInput> inputs;
  for (size_t i = 0; i < part.size(); ++i) inputs.push_back({&part[i], &plans[i]});
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor scored,
                         objective::ScoreTargets(model, inputs, plan_.boundary));
  const std::vector<double> values = objective::HostNumbers(scored);

  std::string lines;
  size_t next = 0;
  for (size_t i = 0; i < part.size(); ++i) {
    const auto mine = absl::MakeConstSpan(values).subspan(next, plans[i].target_count);
    next += mine.size();
    absl::StrAppend(&lines, ToJsonLine(MakeScore(part[i], plan_, mine)), "\n");
  }
  return lines;
}

// Rows of its forward: the clean sequence and one block per scored state, at most. Bidirectional
// states bring the whole sequence each, but the scorer puts them into several forwards itself.
int64_t ScoreCommand::Rows(const trajectory::Trajectory& t) const {
  int64_t rows = static_cast<int64_t>(t.prompt_tokens.size() + t.response_tokens.size());
  for (const trajectory::BlockPlan& block : ScorePlan(t, plan_).blocks) {
    rows += t.block_size * std::ssize(block.states);
  }
  return rows;
}

}  // namespace dtrpo::tools
