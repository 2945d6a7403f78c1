// Thread safety: plain data.
//
// What a job asks for, with the defaults that apply when its file says nothing. The wire twin is
// proto/dtrpo/v1/job.proto, which documents each field; this is the one place that knows the
// defaults and the limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace dtrpo::job {

struct ModelSpec {
  std::string path;
  int32_t mask_token_id = 0;  // 0: from the checkpoint's files
  int32_t block_size = 0;     // 0: from config.json
  std::string dtype = "auto";
  std::vector<int32_t> stop_ids = {};  // empty: from the checkpoint's files
  std::string from_job;                // resolved to `path` at submit
};

struct DataSpec {
  std::string prompts;
  std::string heldout;
  std::string answer_field = "answer";
  bool apply_chat_template = true;
  int32_t max_prompt_tokens = 1024;
  int32_t epochs = 1000000;
  bool shuffle = true;
  std::string pairs;
  std::string pairs_order = "random";
  double pairs_heldout = 0;
  double pairs_share = 0.5;
  double min_pass_rate = 0;
  double max_pass_rate = 1;
  int32_t pass_rate_focus = 0;  // 0: off
};

struct SamplingSpec {
  std::string unmask = "threshold:0.9";
  int32_t sub_block = 0;
  double temperature = 1;
  double top_p = 1;
  int32_t top_k = 0;
  int32_t max_new_tokens = 256;
  int32_t samples_per_prompt = 8;
  bool greedy_first_token = false;
  std::string confidence = "untempered";
  int32_t repetition_guard = 0;  // 0: off
};

struct RewardTerm {
  std::string verifier;
  double weight = 1;
};

struct RewardServiceSpec {
  std::string address;
  int64_t timeout_ms = 30000;
  int32_t attempts = 4;
  int64_t outage_ms = 600000;
};

struct RewardSpec {
  std::string verifier = "exact";
  double min_gap = 0;
  int32_t max_pairs_per_prompt = 2;
  std::vector<RewardTerm> terms;  // instead of `verifier`
  RewardServiceSpec service;
  std::string pairing = "best_worst";
};

enum class ObjectiveKind { kDtrpo, kExact, kVrpo, kRandomMask };
enum class PreferenceLossKind { kSigmoid, kIpo };
enum class Weighting { kSteps, kOne, kMean };
enum class StalenessCorrection { kNone, kRejectedRatio };

struct ObjectiveSpec {
  ObjectiveKind kind = ObjectiveKind::kDtrpo;
  PreferenceLossKind loss = PreferenceLossKind::kSigmoid;
  double label_smoothing = 0;
  double beta = 0.1;
  int32_t draws = 1;
  bool antithetic = true;
  Weighting weighting = Weighting::kSteps;
  std::string boundary = "clean";
  std::string draw_from;  // "block", "sequence"; empty: what suits the model's attention
  bool length_normalised = false;
  StalenessCorrection staleness_correction = StalenessCorrection::kRejectedRatio;
  double sft_weight = 0.1;
};

struct LoraSpec {
  int32_t rank = 0;                  // 0: no adapters
  double alpha = 0;                  // 0: twice the rank
  std::vector<std::string> targets;  // empty: all projections of attention and MLP
  std::string save = "merged";
};

enum class Schedule { kConstant, kLinear, kCosine };

struct TrainingSpec {
  int64_t steps = 0;
  int32_t pairs_per_batch = 32;
  double learning_rate = 1e-6;
  Schedule schedule = Schedule::kLinear;
  double final_learning_rate_ratio = 0.2;
  int32_t warmup_steps = 0;
  double weight_decay = 0;
  double max_gradient_norm = 1;
  int32_t publish_every = 1;
  int32_t max_staleness = 4;
  int32_t checkpoint_every = 50;
  int32_t keep_checkpoints = 2;
  int64_t max_shard_bytes = 0;  // 0: as the hub does
  int32_t max_uses = 1;
  int32_t micro_batch_pairs = 0;  // 0: all of the rank's
  int32_t max_skipped_steps = 5;
  int32_t max_prompts_without_pair = 10000;
  std::vector<std::string> trainable;  // empty: all
  LoraSpec lora;
  bool activation_checkpointing = false;
  int32_t ranks = 1;
  int32_t min_ranks = 0;  // 0: `ranks`
};

struct EvaluationSpec {
  int32_t every_versions = 0;  // 0: before and after only
  int32_t max_prompts = 0;     // 0: all
  int32_t show_samples = 4;
  std::string unmask;  // empty: the sampling spec's
  std::string layout = "prompts";
  std::string prompt_template;  // empty: the layout's own
  int32_t samples = 1;
  double temperature = 0;  // 0: greedy
  std::vector<int32_t> pass_k = {1};
  std::string verifier;  // empty: the layout's own, or the reward's
  bool keep_best = true;
  int32_t stop_after = 0;             // 0: never
  std::vector<std::string> policies;  // kind eval: several unmask policies; empty: one
};

struct ReplaySpec {
  int64_t max_items = 0;  // 0: what the job needs, see job_limits.h
  int64_t max_bytes = int64_t{1} << 30;
  std::string durability = "sync";
  std::string selector = "fifo";
  std::string priority = "reward_gap";
  double priority_exponent = 1;
  int64_t min_items = 0;
  double samples_per_insert = 0;  // 0: not limited
};

enum class JobKind { kTrain, kEval };

struct JobSpec {
  JobKind kind = JobKind::kTrain;
  std::string name;
  uint64_t seed = 1;
  ModelSpec model;
  DataSpec data;
  SamplingSpec sampling;
  RewardSpec reward;
  ObjectiveSpec objective;
  TrainingSpec training;
  EvaluationSpec evaluation;
  ReplaySpec replay;
  std::string output;
  int32_t priority = 0;
};

// INVALID_ARGUMENT naming the field and the limit it breaks, limits of the replay store included.
// Looks at no file.
absl::Status Validate(const JobSpec& spec);

}  // namespace dtrpo::job
