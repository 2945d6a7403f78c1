#include "services/rollout/text_generator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/diffusion/block_sampler.h"
#include "common/text/tokenizer.h"
#include "services/rollout/prompt_sampler.h"

namespace dtrpo::rollout {
namespace {

constexpr absl::Duration kBusyRetryAfter = absl::Seconds(1);
// No tokenizer makes tokens that are longer than this on average: a text beyond is too long before
// any time is spent on it.
constexpr int64_t kMaxBytesPerToken = 64;

// The text of an answer that comes in parts.
class AnswerText {
 public:
  // `tokenizer` may be null: no text.
  AnswerText(const text::Tokenizer* tokenizer, absl::Span<const int32_t> stop_ids)
      : has_text_(tokenizer != nullptr), decoder_(tokenizer), stop_ids_(stop_ids) {}

  absl::StatusOr<std::string> Add(absl::Span<const int32_t> tokens, bool last) {
    std::string text;
    if (!has_text_) return text;
    for (const int32_t token : tokens) {
      // As in rewards: the stop token is no part of the answer.
      if (std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end()) continue;
      DTRPO_ASSIGN_OR_RETURN(const std::string piece, decoder_.Append(token));
      text += piece;
    }
    if (last) {
      DTRPO_ASSIGN_OR_RETURN(const std::string rest, decoder_.Flush());
      text += rest;
    }
    return text;
  }

 private:
  const bool has_text_;
  text::StreamDecoder decoder_;
  const absl::Span<const int32_t> stop_ids_;
};

int64_t TextBytes(const GenerateTask& task) {
  if (const auto* text = std::get_if<TextPrompt>(&task.prompt)) {
    return static_cast<int64_t>(text->text.size());
  }
  int64_t bytes = 0;
  if (const auto* chat = std::get_if<ChatPrompt>(&task.prompt)) {
    for (const text::ChatMessage& message : chat->messages) {
      bytes += static_cast<int64_t>(message.role.size() + message.content.size());
    }
  }
  return bytes;
}

}  // namespace

struct TextGenerator::Prepared {
  std::shared_ptr<const ServedJob> job;
  std::shared_ptr<const model::Transformer> policy;
  int64_t version = 0;
  diffusion::SampleRequest request;
  std::unique_ptr<diffusion::BlockSampler> sampler;
};

class TextGenerator::Admission {
 public:
  explicit Admission(TextGenerator* generator) : generator_(generator) {}
  ~Admission() { generator_->Leave(); }
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

 private:
  TextGenerator* const generator_;
};

TextGenerator::TextGenerator(Limits limits, const ServedJobSlot* job,
                             const weights::VersionStore* versions, base::Clock* clock,
                             const RolloutMetrics* metrics)
    : limits_(limits), job_(job), versions_(versions), clock_(clock), metrics_(metrics) {
  metrics_->generate_limit->Set(limits_.calls);
}

absl::Status TextGenerator::Admit() {
  absl::MutexLock lock(&mutex_);
  if (finish_by_ != absl::InfiniteFuture()) {
    absl::Status status = absl::UnavailableError("this rollout is shutting down");
    base::SetReason(status, "draining");
    return status;
  }
  if (limits_.calls == 0) {
    return absl::FailedPreconditionError(
        "this rollout answers no Generate calls: max_generate_calls is 0");
  }
  if (running_ >= limits_.calls) {
    return base::BackPressureError(
        absl::StrCat("max_generate_calls is ", limits_.calls, ", and as many run already"),
        "generate_busy", kBusyRetryAfter);
  }
  ++running_;
  metrics_->generate_running->Set(running_);
  return absl::OkStatus();
}

void TextGenerator::Leave() {
  absl::MutexLock lock(&mutex_);
  --running_;
  metrics_->generate_running->Set(running_);
}

void TextGenerator::StartDraining(absl::Time finish_by) {
  absl::MutexLock lock(&mutex_);
  finish_by_ = finish_by;
}

bool TextGenerator::PastDrain() const {
  absl::MutexLock lock(&mutex_);
  return finish_by_ != absl::InfiniteFuture() && clock_->Now() >= finish_by_;
}

absl::StatusOr<std::vector<int32_t>> TextGenerator::Encode(const GenerateTask& task,
                                                           const ServedJob& job) const {
  const int64_t max_bytes = limits_.prompt_tokens * kMaxBytesPerToken;
  if (const int64_t bytes = TextBytes(task); bytes > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt: ", bytes, " bytes of text are more than ", kMaxBytesPerToken, " for each of the ",
        limits_.prompt_tokens, " tokens that this rollout takes (max_generate_prompt_tokens)"));
  }
  std::vector<int32_t> tokens;
  if (const auto* text = std::get_if<TextPrompt>(&task.prompt)) {
    DTRPO_ASSIGN_OR_RETURN(tokens, base::Annotate(text->raw ? job.encoder->EncodeRaw(text->text)
                                                            : job.encoder->EncodeText(text->text),
                                                  "text"));
  } else if (const auto* chat = std::get_if<ChatPrompt>(&task.prompt)) {
    DTRPO_ASSIGN_OR_RETURN(tokens, base::Annotate(job.encoder->EncodeChat(chat->messages), "chat"));
  } else {
    tokens = std::get<TokenPrompt>(task.prompt).ids;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] >= 0 && tokens[i] < job.descriptor.vocab_size) continue;
      return absl::InvalidArgumentError(absl::StrCat("tokens.ids[", i, "] ", tokens[i],
                                                     ": the vocabulary has ids below ",
                                                     job.descriptor.vocab_size));
    }
  }
  if (tokens.empty()) return absl::InvalidArgumentError("prompt: has no tokens");
  if (static_cast<int64_t>(tokens.size()) > limits_.prompt_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt: has ", tokens.size(), " tokens, this rollout takes ",
                     limits_.prompt_tokens, " (max_generate_prompt_tokens)"));
  }
  return tokens;
}

absl::StatusOr<std::shared_ptr<const weights::Image>> TextGenerator::FindVersion(
    const GenerateTask& task, const ServedJob& job) const {
  std::shared_ptr<const weights::Image> image =
      task.version.has_value() ? versions_->Find(*task.version) : versions_->Newest();
  // The loop may let go of the job at any moment.
  if (image != nullptr && image->manifest().job_id == job.job_id) return image;
  const std::vector<int64_t> held = versions_->Held();
  if (held.empty() || image != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("this rollout lets go of job ", job.job_id, " just now"));
  }
  return absl::NotFoundError(absl::StrCat("version ", *task.version, " of job ", job.job_id,
                                          " isn't held; held are: ", absl::StrJoin(held, ", ")));
}

absl::StatusOr<TextGenerator::Prepared> TextGenerator::Prepare(const GenerateTask& task) const {
  Prepared prepared;
  DTRPO_ASSIGN_OR_RETURN(prepared.job, job_->Get());
  const ServedJob& job = *prepared.job;
  if (!task.job_id.empty() && task.job_id != job.job_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("job_id ", task.job_id, ": this rollout works on ", job.job_id));
  }
  diffusion::SamplerOptions options;
  trajectory::SamplerParameters& parameters = options.parameters;
  parameters = SamplerParametersOf(job.spec, /*evaluate=*/true);
  parameters.max_new_tokens = std::min(parameters.max_new_tokens, limits_.new_tokens);
  if (!task.unmask.empty()) parameters.unmask = task.unmask;
  if (!task.confidence.empty()) parameters.confidence = task.confidence;
  parameters.sub_block = task.sub_block.value_or(parameters.sub_block);
  parameters.temperature = task.temperature;
  parameters.top_p = task.top_p.value_or(parameters.top_p);
  parameters.top_k = task.top_k.value_or(parameters.top_k);
  parameters.max_new_tokens = task.max_new_tokens.value_or(parameters.max_new_tokens);
  parameters.repetition_guard = task.repetition_guard.value_or(parameters.repetition_guard);
  if (parameters.max_new_tokens > limits_.new_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "parameters.max_new_tokens ", parameters.max_new_tokens, ": this rollout makes at most ",
        limits_.new_tokens, " (max_generate_new_tokens)"));
  }
  DTRPO_ASSIGN_OR_RETURN(prepared.request.prompt_tokens, Encode(task, job));
  prepared.request.id = "generate";
  prepared.request.seed = task.seed;

  DTRPO_ASSIGN_OR_RETURN(const std::shared_ptr<const weights::Image> image, FindVersion(task, job));
  prepared.version = image->manifest().version;
  DTRPO_ASSIGN_OR_RETURN(prepared.policy, job.policies->Get(image));
  job.policies->KeepOnly(versions_->Held());  // the loop may be busy for long
  options.weights_version = prepared.version;
  options.model_id = job.spec.model.path;
  options.batch_sequences = 1;
  options.max_cache_bytes = limits_.cache_bytes;
  options.ignore_stop = task.ignore_stop;
  DTRPO_ASSIGN_OR_RETURN(
      prepared.sampler,
      base::Annotate(diffusion::BlockSampler::Create(prepared.policy.get(), std::move(options)),
                     "parameters"));
  return prepared;
}

absl::StatusOr<GenerateEnd> TextGenerator::Run(const GenerateTask& task,
                                               const GenerateListener& listener) {
  DTRPO_RETURN_IF_ERROR(Admit());
  const Admission admission(this);
  DTRPO_ASSIGN_OR_RETURN(Prepared prepared, Prepare(task));
  const text::Tokenizer* tokenizer = prepared.job->encoder->tokenizer();
  listener.on_start({.job_id = prepared.job->job_id,
                     .version = prepared.version,
                     .prompt_tokens = static_cast<int64_t>(prepared.request.prompt_tokens.size()),
                     .parameters = prepared.sampler->parameters(),
                     .seed = task.seed,
                     .has_text = tokenizer != nullptr});

  const absl::Time started = clock_->Now();
  AnswerText answer(tokenizer, prepared.job->descriptor.stop_ids);
  absl::Status undecodable;
  const auto on_block = [&](const diffusion::FinishedBlock& block) {
    absl::StatusOr<std::string> text = answer.Add(block.tokens, block.last);
    if (!text.ok()) {
      undecodable = text.status();
    } else if (!block.tokens.empty() || !text->empty()) {
      metrics_->generate_tokens->Increment(static_cast<double>(block.tokens.size()));
      listener.on_block({block.begin, block.tokens, *std::move(text)});
    }
  };
  bool drained = false;
  const auto keep_going = [&] {
    drained = PastDrain();
    return !drained && undecodable.ok() && listener.keep_going();
  };
  const auto trajectories = prepared.sampler->Sample({&prepared.request, 1}, keep_going, on_block);
  DTRPO_RETURN_IF_ERROR(undecodable);
  if (drained) {
    absl::Status status = absl::UnavailableError("this rollout is shutting down");
    base::SetReason(status, "draining");
    return status;
  }
  DTRPO_RETURN_IF_ERROR(trajectories.status());
  const trajectory::Trajectory& t = trajectories->front();
  return GenerateEnd{.finish_reason = t.finish_reason,
                     .tokens = trajectory::TargetCount(t),
                     .forwards = prepared.sampler->statistics().forwards,
                     .duration = clock_->Now() - started};
}

absl::StatusOr<GenerateEnd> TextGenerator::Generate(const GenerateTask& task,
                                                    const GenerateListener& listener) {
  bool begun = false;
  const absl::Time called = clock_->Now();
  GenerateListener noting = listener;
  noting.on_start = [&](const GenerateStart& start) {
    begun = true;
    listener.on_start(start);
  };
  absl::StatusOr<GenerateEnd> end = Run(task, noting);
  if (begun) {
    metrics_->generate_seconds->Observe(absl::ToDoubleSeconds(clock_->Now() - called));
  }
  base::Counter* outcome = metrics_->generate_failed;
  if (end.ok()) {
    outcome = metrics_->generate_answered;
  } else if (!begun) {
    outcome = metrics_->generate_refused;
  } else if (absl::IsCancelled(end.status()) || absl::IsUnavailable(end.status())) {
    outcome = metrics_->generate_cancelled;
  }
  outcome->Increment();
  return end;
}

}  // namespace dtrpo::rollout
