#include "tools/dtrpo/generate_command.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/diffusion/unmask_policy.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/ids.h"
#include "common/wire/trajectory_codec.h"
#include "tools/dtrpo/prompt_data.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
// Results are written each time this many batches' worth of sequences is done.
constexpr int64_t kBatchesPerWrite = 16;

constexpr char kHelp[] = R"(A prompt line is one of
  {"id": "a", "prompt": "2+2="}          text; one user message if the folder has a chat template
  {"id": "b", "messages": [{"role": "user", "content": "2+2="}]}
  {"id": "c", "prompt_tokens": [1, 2]}   needs no tokenizer
An output line is the JSON of a trajectory (proto/dtrpo/v1/trajectory.proto): response_tokens with
the step each was unmasked at and its log-probability then, text, stop_index, finish_reason, and
what is needed to repeat it. With --samples G > 1 the id becomes ID/0 ... ID/G-1.

Policies (--unmask), on the masks of a sub-block:
  steps:k             k steps, the most confident first
  threshold:tau[,k]   all above tau, and never fewer than the k (1) most confident
  factor:f            by falling confidence, rank r while it is >= 1 - f / (r + 1)
  entropy:bound       by rising entropy while its sum is <= bound
  dream:order[,steps[,eps[,alg_temp]]]
                      Dream's schedule of 512 steps from time 1 to eps (0.001); order: origin (by
                      chance), maskgit_plus, topk_margin or entropy; alg_temp (0) adds noise
  sequential:k        the k leftmost
  random:k            k by chance

Example: dtrpo generate --model DIR --prompts p.jsonl --output t.jsonl --unmask steps:4)";

std::string CheckUnmask(const std::string& spec) {
  return std::string(diffusion::ParseUnmaskPolicy(spec).status().message());
}

// A line on standard error every few seconds; asked by the sampler between forwards.
class Progress {
 public:
  Progress(const diffusion::BlockSampler* sampler, size_t sequences)
      : sampler_(sampler), sequences_(sequences), start_(base::RealClock()->Now()), last_(start_) {}

  void MaybePrint() {
    const absl::Time now = base::RealClock()->Now();
    if (now - last_ < kProgressEvery) return;
    last_ = now;
    const diffusion::SampleStatistics& s = sampler_->statistics();
    std::cerr << absl::StrFormat("generate: %d of %d sequences, %.1f tokens/s\n", s.sequences,
                                 sequences_, s.tokens / Seconds());
  }

  double Seconds() const {
    return std::max(1e-9, absl::ToDoubleSeconds(base::RealClock()->Now() - start_));
  }

 private:
  const diffusion::BlockSampler* const sampler_;
  const size_t sequences_;
  const absl::Time start_;
  absl::Time last_;
};

}  // namespace

void GenerateCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  AddAdapterOption(app, &model_);
  app->add_option("--prompts", prompts_path_, "prompts, JSONL")->required()->type_name("FILE");
  app->add_option("--output", output_path_, "trajectories, JSONL; an existing file is replaced")
      ->required()
      ->type_name("FILE");
  app->add_option("--unmask", parameters_.unmask,
                  absl::StrCat("which masks a step unmasks: ", trajectory::kUnmaskForms))
      ->check(CheckUnmask)
      ->type_name("POLICY")
      ->capture_default_str();
  app->add_option("--sub-block", parameters_.sub_block,
                  "unmask a block in parts of N tokens, left to right; 0: the whole block")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--temperature", parameters_.temperature, "0: the most probable token")
      ->check(CLI::NonNegativeNumber)
      ->type_name("T")
      ->capture_default_str();
  app->add_option("--top-p", parameters_.top_p, "nucleus to choose from; 1: off")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("P")
      ->capture_default_str();
  app->add_option("--top-k", parameters_.top_k, "tokens to choose from; 0: off")
      ->check(CLI::NonNegativeNumber)
      ->type_name("K")
      ->capture_default_str();
  app->add_option("--confidence", parameters_.confidence,
                  "what --unmask looks at: the model's distribution (untempered), or what "
                  "temperature and filters make of it (tempered)")
      ->check(CLI::IsMember({trajectory::kUntempered, trajectory::kTempered}))
      ->type_name("KIND")
      ->capture_default_str();
  app->add_option("--max-new-tokens", parameters_.max_new_tokens, "length of an answer at most")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("M")
      ->capture_default_str();
  app->add_option("--repetition-guard", parameters_.repetition_guard,
                  "end an answer at the end of a block if its last N tokens repeat a cycle of at "
                  "most N / 3 tokens; 0: off")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--samples", samples_, "completions of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("G")
      ->capture_default_str();
  app->add_option("--seed", seed_, "every sequence's seed derives from this and its id")
      ->type_name("S")
      ->capture_default_str();
  app->add_option("--batch", batch_, "sequences that share a forward at most")
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("B")
      ->capture_default_str();
  app->add_flag("--greedy-first-token", greedy_first_token_,
                "block-first tokens by argmax whatever the temperature (token shift only)");
  app->add_flag("--raw-prompts", raw_prompts_, "never put text prompts into the chat template");
}

absl::Status GenerateCommand::CheckOptions() const {
  if (samples_ > 1 && parameters_.temperature == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--samples ", samples_, ": at temperature 0 all samples of a prompt are the ",
                     "same; set --temperature"));
  }
  if (parameters_.top_p == 0) return absl::InvalidArgumentError("--top-p 0: must be above 0");
  return absl::OkStatus();
}

absl::Status GenerateCommand::Run() {
  DTRPO_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(model_));
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(model_.path, !raw_prompts_));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<text::Prompt> prompts,
                         ReadPromptFile(prompts_path_, loaded.folder, encoder, /*answer_field=*/"",
                                        parameters_.max_new_tokens));

  diffusion::SamplerOptions options;
  options.parameters = parameters_;
  if (greedy_first_token_) options.parameters.first_token = trajectory::FirstToken::kGreedy;
  options.model_id = model_.path;
  options.batch_sequences = batch_;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(loaded.model.get(), options));

  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<base::WritableFile> output,
                         base::PosixFileSystem()->Create(output_path_));
  const std::vector<diffusion::SampleRequest> requests = MakeRequests(prompts);
  Progress progress(sampler.get(), requests.size());
  const auto keep_going = [&progress] {
    progress.MaybePrint();
    return true;
  };
  const size_t part_size = static_cast<size_t>(kBatchesPerWrite * batch_);
  for (size_t begin = 0; begin < requests.size(); begin += part_size) {
    const auto part = absl::MakeConstSpan(requests).subspan(begin, part_size);
    DTRPO_ASSIGN_OR_RETURN(std::vector<trajectory::Trajectory> trajectories,
                           sampler->Sample(part, keep_going));
    for (trajectory::Trajectory& t : trajectories) {
      DTRPO_ASSIGN_OR_RETURN(
          t.text,
          encoder.Decode(
              absl::MakeConstSpan(t.response_tokens).subspan(0, trajectory::TargetCount(t))));
      DTRPO_RETURN_IF_ERROR(output->Append(absl::StrCat(wire::ToJsonLine(t), "\n")));
    }
  }
  DTRPO_RETURN_IF_ERROR(output->Close());

  const diffusion::SampleStatistics& s = sampler->statistics();
  const double seconds = progress.Seconds();
  std::cerr << absl::StrFormat(
                   "generate: sequences=%d tokens=%d forwards=%d seconds=%.3f "
                   "tokens_per_second=%.1f",
                   s.sequences, s.tokens, s.forwards, seconds, s.tokens / seconds)
            << std::endl;
  return absl::OkStatus();
}

std::vector<diffusion::SampleRequest> GenerateCommand::MakeRequests(
    const std::vector<text::Prompt>& prompts) const {
  std::vector<diffusion::SampleRequest> requests;
  for (const text::Prompt& prompt : prompts) {
    for (int32_t sample = 0; sample < samples_; ++sample) {
      const std::string id = samples_ == 1 ? prompt.id : absl::StrCat(prompt.id, "/", sample);
      requests.push_back({id, prompt.tokens, trajectory::TrajectorySeed(seed_, id)});
    }
  }
  return requests;
}

}  // namespace dtrpo::tools
