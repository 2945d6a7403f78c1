#include "common/job/job_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace dtrpo::job {
namespace {

using ::testing::HasSubstr;

JobSpec Good() {
  JobSpec spec;
  spec.name = "add-1";
  spec.model.path = "model";
  spec.data.prompts = "prompts.jsonl";
  spec.training.steps = 100;
  spec.output = "out";
  return spec;
}

void AskEval(JobSpec& spec, std::vector<std::string> policies) {
  spec.kind = JobKind::kEval;
  spec.data.prompts.clear();
  spec.data.heldout = "questions.jsonl";
  spec.evaluation.policies = std::move(policies);
}

TEST(JobSpecTest, DefaultsAreValid) { EXPECT_TRUE(Validate(Good()).ok()) << Validate(Good()); }

TEST(JobSpecTest, UnmaskRulesAreAccepted) {
  for (const char* rule : {"steps:4", "threshold:0.9", "threshold:1", "dream:entropy,64"}) {
    JobSpec spec = Good();
    spec.sampling.unmask = spec.evaluation.unmask = rule;
    EXPECT_TRUE(Validate(spec).ok()) << Validate(spec);
  }
}

TEST(JobSpecTest, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<std::string, std::function<void(JobSpec&)>>> faults = {
      {"name", [](JobSpec& s) { s.name.clear(); }},
      {"name", [](JobSpec& s) { s.name = "a/b"; }},
      {"name", [](JobSpec& s) { s.name.assign(65, 'a'); }},
      {"model.path", [](JobSpec& s) { s.model.path.clear(); }},
      {"model.path", [](JobSpec& s) { s.model.path.assign(5000, 'a'); }},
      {"model.mask_token_id", [](JobSpec& s) { s.model.mask_token_id = -1; }},
      {"model.block_size", [](JobSpec& s) { s.model.block_size = -1; }},
      {"data.prompts", [](JobSpec& s) { s.data.prompts.clear(); }},
      {"data.pairs", [](JobSpec& s) { s.data.pairs.assign(5000, 'a'); }},
      {"data.pairs_order", [](JobSpec& s) { s.data.pairs_order = "sorted"; }},
      {"data.pairs_heldout", [](JobSpec& s) { s.data.pairs_heldout = 0.6; }},
      {"data.pairs_share", [](JobSpec& s) { s.data.pairs_share = -0.1; }},
      {"data.answer_field", [](JobSpec& s) { s.data.answer_field.clear(); }},
      {"data.max_prompt_tokens", [](JobSpec& s) { s.data.max_prompt_tokens = 0; }},
      {"data.epochs", [](JobSpec& s) { s.data.epochs = 0; }},
      {"sampling.unmask", [](JobSpec& s) { s.sampling.unmask = "steps:0"; }},
      {"sampling.unmask", [](JobSpec& s) { s.sampling.unmask = "threshold:1.5"; }},
      {"sampling.unmask", [](JobSpec& s) { s.sampling.unmask = "threshold:nan"; }},
      {"sampling.unmask", [](JobSpec& s) { s.sampling.unmask = "greedy"; }},
      {"sampling.confidence", [](JobSpec& s) { s.sampling.confidence = "high"; }},
      {"sampling.repetition_guard", [](JobSpec& s) { s.sampling.repetition_guard = 2; }},
      {"sampling.sub_block", [](JobSpec& s) { s.sampling.sub_block = -1; }},
      {"sampling.temperature", [](JobSpec& s) { s.sampling.temperature = -1; }},
      {"sampling.temperature", [](JobSpec& s) { s.sampling.temperature = NAN; }},
      {"sampling.temperature", [](JobSpec& s) { s.sampling.temperature = 0; }},
      {"sampling.top_p", [](JobSpec& s) { s.sampling.top_p = 0; }},
      {"sampling.top_k", [](JobSpec& s) { s.sampling.top_k = -1; }},
      {"sampling.max_new_tokens", [](JobSpec& s) { s.sampling.max_new_tokens = 0; }},
      {"sampling.samples_per_prompt", [](JobSpec& s) { s.sampling.samples_per_prompt = 1; }},
      {"reward.verifier", [](JobSpec& s) { s.reward.verifier = "judge"; }},
      {"reward.service.address", [](JobSpec& s) { s.reward.verifier = "service:mine"; }},
      {"reward.service.address",
       [](JobSpec& s) {
         s.reward.terms = {{"exact"}, {"service:x"}};
       }},
      {"reward.terms[1]",
       [](JobSpec& s) {
         s.reward.terms = {{"exact"}, {"judge"}};
       }},
      {"reward.terms[0]",
       [](JobSpec& s) {
         s.reward.terms = {{"exact", 1e9}};
       }},
      {"reward.terms", [](JobSpec& s) { s.reward.terms.resize(33, {"exact"}); }},
      {"reward.pairing", [](JobSpec& s) { s.reward.pairing = "worst_best"; }},
      {"reward.min_gap", [](JobSpec& s) { s.reward.min_gap = -0.1; }},
      {"reward.max_pairs_per_prompt", [](JobSpec& s) { s.reward.max_pairs_per_prompt = 0; }},
      {"objective.beta", [](JobSpec& s) { s.objective.beta = 0; }},
      {"objective.draws", [](JobSpec& s) { s.objective.draws = 0; }},
      {"objective.boundary", [](JobSpec& s) { s.objective.boundary = "dirty"; }},
      {"objective.label_smoothing", [](JobSpec& s) { s.objective.label_smoothing = 0.5; }},
      {"objective.label_smoothing",
       [](JobSpec& s) {
         s.objective.label_smoothing = 0.1;
         s.objective.loss = PreferenceLossKind::kIpo;
       }},
      {"objective.draw_from",
       [](JobSpec& s) {
         s.objective.kind = ObjectiveKind::kVrpo;
         s.objective.draw_from = "sequence";
       }},
      {"objective.weighting",
       [](JobSpec& s) {
         s.objective.kind = ObjectiveKind::kVrpo;
         s.objective.weighting = Weighting::kMean;
       }},
      {"objective.weighting",
       [](JobSpec& s) {
         s.objective.kind = ObjectiveKind::kRandomMask;
         s.objective.weighting = Weighting::kOne;
       }},
      {"objective.sft_weight", [](JobSpec& s) { s.objective.sft_weight = -1; }},
      {"training.steps", [](JobSpec& s) { s.training.steps = 0; }},
      {"training.steps", [](JobSpec& s) { s.training.steps = -1; }},
      {"training.pairs_per_batch", [](JobSpec& s) { s.training.pairs_per_batch = 0; }},
      {"training.learning_rate", [](JobSpec& s) { s.training.learning_rate = 0; }},
      {"training.learning_rate", [](JobSpec& s) { s.training.learning_rate = INFINITY; }},
      {"training.final_learning_rate_ratio",
       [](JobSpec& s) { s.training.final_learning_rate_ratio = 2; }},
      {"training.warmup_steps", [](JobSpec& s) { s.training.warmup_steps = 101; }},
      {"training.weight_decay", [](JobSpec& s) { s.training.weight_decay = -1; }},
      {"training.max_gradient_norm", [](JobSpec& s) { s.training.max_gradient_norm = NAN; }},
      {"training.publish_every", [](JobSpec& s) { s.training.publish_every = 0; }},
      {"training.max_staleness", [](JobSpec& s) { s.training.max_staleness = -1; }},
      {"training.checkpoint_every", [](JobSpec& s) { s.training.checkpoint_every = 0; }},
      {"training.keep_checkpoints", [](JobSpec& s) { s.training.keep_checkpoints = 0; }},
      {"training.max_uses", [](JobSpec& s) { s.training.max_uses = 0; }},
      {"training.micro_batch_pairs", [](JobSpec& s) { s.training.micro_batch_pairs = -1; }},
      {"training.max_skipped_steps", [](JobSpec& s) { s.training.max_skipped_steps = -1; }},
      {"training.max_prompts_without_pair",
       [](JobSpec& s) { s.training.max_prompts_without_pair = 0; }},
      {"training.trainable", [](JobSpec& s) { s.training.trainable = {""}; }},
      {"training.trainable",
       [](JobSpec& s) {
         s.training.trainable = {"*.mlp.*"};
         s.training.lora.rank = 8;
       }},
      {"training.lora.rank", [](JobSpec& s) { s.training.lora.rank = -1; }},
      {"training.lora.alpha", [](JobSpec& s) { s.training.lora.alpha = -1; }},
      {"training.lora.save", [](JobSpec& s) { s.training.lora.save = "zip"; }},
      {"training.lora.targets", [](JobSpec& s) { s.training.lora.targets = {"q_proj"}; }},
      {"training.ranks", [](JobSpec& s) { s.training.ranks = 0; }},
      {"training.min_ranks", [](JobSpec& s) { s.training.min_ranks = 2; }},
      {"training.pairs_per_batch",
       [](JobSpec& s) {
         s.training.ranks = 8;
         s.training.pairs_per_batch = 7;
       }},
      {"evaluation.every_versions", [](JobSpec& s) { s.evaluation.every_versions = -1; }},
      {"evaluation.max_prompts", [](JobSpec& s) { s.evaluation.max_prompts = -1; }},
      {"evaluation.show_samples", [](JobSpec& s) { s.evaluation.show_samples = -1; }},
      {"evaluation.unmask", [](JobSpec& s) { s.evaluation.unmask = "steps:x"; }},
      {"data.heldout", [](JobSpec& s) { s.kind = JobKind::kEval; }},
      {"data.prompts",
       [](JobSpec& s) {
         s.kind = JobKind::kEval;
         s.data.heldout = "questions.jsonl";
       }},
      {"evaluation.layout", [](JobSpec& s) { s.evaluation.layout = "trivia"; }},
      {"evaluation.template", [](JobSpec& s) { s.evaluation.prompt_template = "t.txt"; }},
      {"evaluation.samples", [](JobSpec& s) { s.evaluation.samples = 0; }},
      {"evaluation.temperature", [](JobSpec& s) { s.evaluation.samples = 4; }},
      {"evaluation.pass_k", [](JobSpec& s) { s.evaluation.pass_k = {2}; }},
      {"evaluation.verifier", [](JobSpec& s) { s.evaluation.verifier = "mood"; }},
      {"evaluation.policies", [](JobSpec& s) { s.evaluation.policies = {"steps:2"}; }},
      {"evaluation.policies", [](JobSpec& s) { AskEval(s, {"steps:x"}); }},
      {"evaluation.policies",
       [](JobSpec& s) {
         AskEval(s, {"steps:2", "steps:2"});
       }},
      {"evaluation.policies",
       [](JobSpec& s) {
         AskEval(s, {"steps:2"});
         s.evaluation.unmask = "steps:2";
       }},
      {"replay.max_items", [](JobSpec& s) { s.replay.max_items = -1; }},
      {"replay.max_items", [](JobSpec& s) { s.replay.max_items = 10; }},
      {"replay.max_bytes", [](JobSpec& s) { s.replay.max_bytes = 1000; }},
      {"replay.durability", [](JobSpec& s) { s.replay.durability = "tape"; }},
      {"replay.selector", [](JobSpec& s) { s.replay.selector = "lifo"; }},
      {"replay.priority", [](JobSpec& s) { s.replay.priority = "mood"; }},
      {"replay.priority_exponent", [](JobSpec& s) { s.replay.priority_exponent = NAN; }},
      {"replay.min_items", [](JobSpec& s) { s.replay.min_items = -1; }},
      {"replay.samples_per_insert", [](JobSpec& s) { s.replay.samples_per_insert = -1; }},
      {"output", [](JobSpec& s) { s.output.clear(); }},
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    JobSpec spec = Good();
    faults[i].second(spec);
    const absl::Status status = Validate(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i << " " << faults[i].first;
    EXPECT_THAT(std::string(status.message()), HasSubstr(faults[i].first + ":")) << "fault " << i;
  }
}

}  // namespace
}  // namespace dtrpo::job
