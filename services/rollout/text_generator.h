// Thread safety: Generate() may be called from many threads, StartDraining() from any.
//
// One answer to one prompt, block by block, by the policy of a weights version that this rollout
// holds. No network. The calls share the cores with the sampling loop and nothing else: each has a
// sampler and a cache of its own, and uses the policy where its weights lie.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/text/chat_template.h"
#include "common/trajectory/trajectory.h"
#include "common/weights/version_store.h"
#include "services/rollout/rollout_metrics.h"
#include "services/rollout/served_job.h"

namespace dtrpo::rollout {

struct TextPrompt {
  std::string text;
  bool raw = false;  // never wrapped in the chat template
};
struct ChatPrompt {
  std::vector<text::ChatMessage> messages;
};
struct TokenPrompt {
  std::vector<int32_t> ids;
};

// The meaning of each field, and what stands for one that isn't set: proto/dtrpo/v1/generate.proto.
struct GenerateTask {
  std::string job_id;  // empty: any
  std::variant<TextPrompt, ChatPrompt, TokenPrompt> prompt;
  std::string unmask;
  std::optional<int32_t> sub_block;
  double temperature = 0;
  std::optional<double> top_p;
  std::optional<int32_t> top_k;
  std::optional<int32_t> max_new_tokens;
  std::string confidence;
  std::optional<int32_t> repetition_guard;
  bool ignore_stop = false;
  uint64_t seed = 0;
  std::optional<int64_t> version;
};

struct GenerateStart {
  std::string job_id;
  int64_t version = 0;
  int64_t prompt_tokens = 0;
  trajectory::SamplerParameters parameters;
  uint64_t seed = 0;
  bool has_text = false;
};
struct GeneratedBlock {
  int64_t begin = 0;
  absl::Span<const int32_t> tokens;  // borrowed until the listener returns
  std::string text;
};
struct GenerateEnd {
  trajectory::FinishReason finish_reason = trajectory::FinishReason::kLength;
  int64_t tokens = 0;
  int64_t forwards = 0;
  absl::Duration duration;
};

// Called on the thread that generates.
struct GenerateListener {
  std::function<void(const GenerateStart&)> on_start;
  std::function<void(const GeneratedBlock&)> on_block;
  std::function<bool()> keep_going;  // asked between forwards; false: CANCELLED
};

class TextGenerator {
 public:
  struct Limits {
    int32_t calls = 2;  // at once
    int32_t prompt_tokens = 4096;
    int32_t new_tokens = 2048;
    int64_t cache_bytes = int64_t{4} << 30;  // keys and values of one call
  };
  // All outlive the generator.
  TextGenerator(Limits limits, const ServedJobSlot* job, const weights::VersionStore* versions,
                base::Clock* clock, const RolloutMetrics* metrics);

  // The listener hears start, then blocks; nothing when the task is refused. Errors as in
  // generate.proto.
  absl::StatusOr<GenerateEnd> Generate(const GenerateTask& task, const GenerateListener& listener)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on nothing new is begun, and what still runs at `finish_by` is broken off.
  void StartDraining(absl::Time finish_by) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Admission;  // one of limits_.calls
  struct Prepared;  // a task that makes sense, and what it takes

  absl::Status Admit() ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);
  bool PastDrain() const ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<GenerateEnd> Run(const GenerateTask& task, const GenerateListener& listener);
  absl::StatusOr<Prepared> Prepare(const GenerateTask& task) const;
  absl::StatusOr<std::vector<int32_t>> Encode(const GenerateTask& task, const ServedJob& job) const;
  absl::StatusOr<std::shared_ptr<const weights::Image>> FindVersion(const GenerateTask& task,
                                                                    const ServedJob& job) const;

  const Limits limits_;
  const ServedJobSlot* const job_;
  const weights::VersionStore* const versions_;
  base::Clock* const clock_;
  const RolloutMetrics* const metrics_;
  mutable absl::Mutex mutex_;
  int32_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time finish_by_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

}  // namespace dtrpo::rollout
