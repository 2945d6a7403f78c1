#include "services/rollout/prompt_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/fake_metrics.h"
#include "common/evaluation/answer.h"
#include "tests/unit/rollout/unigram_checkpoint.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;

class PromptSamplerTest : public ::testing::Test {
 protected:
  PromptSamplerTest() : path_(support::TestFolder() + "/base") {
    auto encoder = text::PromptEncoder::Load(kExample, /*wrap_text=*/false);
    DTRPO_CHECK_OK(encoder);
    seven_ = encoder->EncodeText("7")->front();
    spec_.seed = 5;
    spec_.model.path = path_;
    spec_.sampling.unmask = "steps:2";
    spec_.sampling.max_new_tokens = 10;
    spec_.sampling.samples_per_prompt = 8;
    spec_.reward.max_pairs_per_prompt = 2;
    Load({{seven_, 0.0}, {kStop, 0.0}});  // "7", "77", ... and "" with half the chance of the next
  }

  void Load(const std::map<int32_t, double>& logits) {
    WriteUnigramCheckpoint(path_, logits);
    policy_ = support::LoadModel(path_);
  }

  std::vector<PromptResult> Run(const std::vector<PromptTask>& tasks, int64_t version = 3,
                                int32_t batch_sequences = 64) {
    auto sampler = PromptSampler::Create("add-1", spec_, policy_->descriptor(),
                                         {.sequences = batch_sequences}, service_.get(), &metrics_);
    EXPECT_TRUE(sampler.ok()) << sampler.status();
    const auto keep_going = [] { return true; };
    auto sampled = (*sampler)->Sample(*policy_, version, tasks, keep_going);
    EXPECT_TRUE(sampled.ok()) << sampled.status();
    return (*sampler)->Judge(*std::move(sampled), keep_going);
  }

  static PromptTask Train(int64_t index, const std::string& answer = "7") {
    PromptTask task;
    task.epoch = 1;
    task.prompt_index = index;
    task.prompt_attempt = 2;
    task.prompt_json =
        absl::StrCat(R"({"id": )", index, R"(, "prompt": "3+4=", "answer": ")", answer, R"("})");
    return task;
  }
  static PromptTask Evaluate(int64_t index, const std::string& answer) {
    PromptTask task = Train(index, answer);
    task.evaluate = task.keep_sample = true;
    task.epoch = 0;
    return task;
  }

  const std::string path_;
  int32_t seven_ = 0;
  job::JobSpec spec_;
  std::unique_ptr<reward::RemoteReward> service_;
  base::FakeMetrics registry_;
  RolloutRunMetrics metrics_{&registry_};
  std::unique_ptr<model::Transformer> policy_;
};

TEST_F(PromptSamplerTest, TrainingPairsARightAnswerWithAWrongOne) {
  const std::vector<PromptResult> results = Run({Train(0), Train(4)});
  ASSERT_EQ(results.size(), 2u);
  const PromptResult& result = results[1];
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.samples, 8);
  EXPECT_GT(result.reward_sum, 0);
  EXPECT_LT(result.reward_sum, 8);
  ASSERT_EQ(result.pairs.size(), 2u);
  for (const trajectory::PreferencePair& pair : result.pairs) {
    EXPECT_TRUE(trajectory::Validate(pair, policy_->descriptor().vocab_size).ok());
    EXPECT_EQ(pair.chosen.text, "7");
    EXPECT_EQ(pair.chosen.reward, 1);
    EXPECT_EQ(pair.rejected.reward, 0);
    EXPECT_NE(pair.rejected.text, "7");
    EXPECT_FALSE(pair.rejected.reward_reason.empty());
    EXPECT_EQ(pair.chosen.weights_version, std::vector<int64_t>{3});
    EXPECT_THAT(pair.chosen.id, HasSubstr("add-1/1/4/2/"));
  }
  EXPECT_EQ(result.pairs[0].id, "add-1/1/4/2/p0");
  EXPECT_EQ(result.pairs[1].id, "add-1/1/4/2/p1");
  EXPECT_EQ(registry_.Value("dtrpo_rollout_samples_total"), 16);
  EXPECT_EQ(registry_.Value("dtrpo_rollout_generated_tokens_total"),
            static_cast<double>(results[0].tokens + results[1].tokens));
}

// Invariant 5, as far as rollouts go: ids and seeds derive from the prompt, not from the company.
TEST_F(PromptSamplerTest, APromptsAnswersDontDependOnItsCompany) {
  const std::vector<PromptResult> alone = Run({Train(4)});
  const std::vector<PromptResult> together =
      Run({Train(0), Train(1, "77"), Train(4)}, /*version=*/3, /*batch_sequences=*/5);
  ASSERT_EQ(alone[0].pairs.size(), together[2].pairs.size());
  for (size_t i = 0; i < alone[0].pairs.size(); ++i) {
    const trajectory::Trajectory &a = alone[0].pairs[i].chosen, &b = together[2].pairs[i].chosen;
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.response_tokens, b.response_tokens);
    EXPECT_EQ(a.unmask_step, b.unmask_step);
  }
  EXPECT_EQ(alone[0].tokens, together[2].tokens);
  EXPECT_EQ(alone[0].forwards, together[2].forwards);
  PromptTask next_epoch = Train(4);
  next_epoch.epoch = 2;
  EXPECT_NE(Run({next_epoch})[0].pairs[0].chosen.seed, alone[0].pairs[0].chosen.seed);
}

TEST_F(PromptSamplerTest, AnEvaluationIsOneGreedyAnswerWithItsDenoising) {
  Load({{seven_, 2.0}, {kStop, 0.0}});
  const std::vector<PromptResult> results =
      Run({Evaluate(0, "7"), Evaluate(1, "7777777777"), Evaluate(2, "7")});
  for (const PromptResult& result : results) {
    ASSERT_TRUE(result.status.ok()) << result.status;
    EXPECT_EQ(result.samples, 1);
    EXPECT_EQ(result.tokens, 10);
    EXPECT_TRUE(result.pairs.empty());
    EXPECT_FALSE(result.correct) << "it never stops";
    EXPECT_EQ(result.kept.answer, "7777777777");
  }
  EXPECT_EQ(results[1].kept.expected, "7777777777");
  EXPECT_THAT(results[0].kept.prompt, HasSubstr("3+4="));
  EXPECT_THAT(results[0].kept.prompt, HasSubstr("assistant")) << "the chat template is applied";

  const std::vector<std::string>& frames = results[0].kept.denoising;
  ASSERT_GE(frames.size(), 4u);
  EXPECT_EQ(frames.front(), absl::StrReplaceAll("7777777777", {{"7", kMaskSign}}));
  EXPECT_EQ(frames.back(), "7777777777");
  size_t sevens_before = 0;
  for (const std::string& frame : frames) {
    EXPECT_EQ(absl::StrReplaceAll(frame, {{kMaskSign, "7"}}), "7777777777");
    const size_t sevens = static_cast<size_t>(std::count(frame.begin(), frame.end(), '7'));
    EXPECT_GE(sevens, sevens_before);
    sevens_before = sevens;
  }
}

TEST_F(PromptSamplerTest, AnEvaluationCountsAnAnswerThatStopsAndFits) {
  Load({{seven_, 0.0}, {kStop, 2.0}});  // greedily nothing at all
  const std::vector<PromptResult> results = Run({Evaluate(0, ""), Evaluate(1, "7")});
  EXPECT_TRUE(results[0].correct);
  EXPECT_EQ(results[0].reward_sum, 1);
  EXPECT_FALSE(results[1].correct);
  EXPECT_EQ(results[0].tokens, 1);
}

TEST_F(PromptSamplerTest, AnEvaluationHasSamplesAVerifierAndAPolicyOfItsOwn) {
  spec_.evaluation.samples = 8;
  spec_.evaluation.temperature = 1;
  spec_.evaluation.verifier = "number";
  spec_.evaluation.unmask = "steps:10";
  const PromptResult alone = Run({Evaluate(0, "7.0")})[0];
  ASSERT_TRUE(alone.status.ok()) << alone.status;
  EXPECT_EQ(alone.samples, 8);
  EXPECT_GT(alone.right_samples, 0);
  EXPECT_LT(alone.right_samples, 8);
  PromptTask retried = Evaluate(0, "7.0");
  retried.prompt_attempt = 2;
  const std::vector<PromptResult> together = Run({Evaluate(1, "7.0"), retried});
  EXPECT_EQ(together[1].right_samples, alone.right_samples);
  EXPECT_EQ(together[1].tokens, alone.tokens);
  EXPECT_NE(together[0].tokens, alone.tokens) << "a seed of its own";
  EXPECT_GT(together[0].sampling_seconds, 0);
  EXPECT_NEAR(together[0].sampling_seconds / static_cast<double>(together[0].tokens),
              together[1].sampling_seconds / static_cast<double>(together[1].tokens), 1e-12);
  PromptTask faster = Evaluate(0, "7.0");
  faster.unmask = "steps:1";
  EXPECT_LT(Run({faster})[0].forwards, alone.forwards);
  EXPECT_EQ(Run({Train(0, "7.0")})[0].reward_sum, 0) << "the job's reward is exact";
}

// The name of an answer makes its seed, as in `dtrpo eval`: neither job nor attempt nor company do.
TEST_F(PromptSamplerTest, AJobOfKindEvalGivesEachQuestionAllItsAnswersWhateverTheCompany) {
  spec_.kind = job::JobKind::kEval;
  spec_.evaluation.layout = "gsm8k";  // judged as a number
  spec_.evaluation.samples = 4;
  spec_.evaluation.temperature = 1;
  const std::vector<PromptResult> together =
      Run({Evaluate(1, "7"), Evaluate(2, "7.0"), Evaluate(3, "7")}, 0, /*batch_sequences=*/5);
  PromptTask later = Evaluate(2, "7.0");
  later.prompt_attempt = 9;
  const std::vector<PromptResult> alone = Run({later}, 0);
  ASSERT_TRUE(alone[0].status.ok()) << alone[0].status;
  EXPECT_EQ(alone[0].samples, 4);
  EXPECT_EQ(alone[0].kept.answer, together[1].kept.answer);
  int64_t line = 0, right = 0;
  for (absl::string_view text : absl::StrSplit(alone[0].kept.answer, '\n', absl::SkipEmpty())) {
    const auto answer = evaluation::ParseAnswer(text);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->id, "2");
    EXPECT_EQ(answer->sample, line++);
    EXPECT_EQ(answer->unmask, "steps:2");
    EXPECT_EQ(answer->expected, "7.0");
    EXPECT_EQ(answer->correct, answer->finished && answer->answer == "7");
    right += answer->correct ? 1 : 0;
  }
  EXPECT_EQ(line, 4);
  EXPECT_EQ(alone[0].right_samples, right);
  spec_.seed = 6;
  EXPECT_NE(Run({Evaluate(1, "7"), Evaluate(2, "7.0")})[1].kept.answer, alone[0].kept.answer);
}

TEST_F(PromptSamplerTest, ABadPromptFailsAloneAndSaysWhy) {
  PromptTask garbled = Train(1);
  garbled.prompt_json = "{";
  PromptTask unanswered = Train(2);
  unanswered.prompt_json = R"({"id": 2, "prompt": "1+1="})";
  PromptTask foreign = Train(3);
  foreign.prompt_json = R"({"id": 3, "prompt_tokens": [280], "answer": "7"})";
  const std::vector<PromptResult> results = Run({garbled, Train(4), unanswered, foreign});
  EXPECT_THAT(std::string(results[0].status.message()), HasSubstr("JSON"));
  EXPECT_THAT(std::string(results[2].status.message()), HasSubstr("'answer'"));
  EXPECT_THAT(std::string(results[3].status.message()), HasSubstr("280"));
  ASSERT_TRUE(results[1].status.ok());
  EXPECT_EQ(results[1].pairs[0].chosen.response_tokens,
            Run({Train(4)})[0].pairs[0].chosen.response_tokens);
}

TEST_F(PromptSamplerTest, AnAnswerThatCantBeJudgedIsAFailureAndNoZeroReward) {
  spec_.reward.verifier = "number";
  const std::vector<PromptResult> results = Run({Train(0, "seven"), Train(1, "7")});
  EXPECT_TRUE(absl::IsInvalidArgument(results[0].status)) << results[0].status;
  EXPECT_EQ(results[0].samples, 0);
  EXPECT_TRUE(results[1].status.ok());
}

TEST_F(PromptSamplerTest, NoPairIsMadeWhereAllAnswersAreWorthTheSame) {
  const std::vector<PromptResult> results = Run({Train(0, "8")});
  ASSERT_TRUE(results[0].status.ok());
  EXPECT_TRUE(results[0].pairs.empty());
  EXPECT_EQ(results[0].reward_sum, 0);
  EXPECT_EQ(results[0].samples, 8);
}

TEST_F(PromptSamplerTest, SamplingEndsWhenItIsNotToGoOn) {
  auto sampler =
      PromptSampler::Create("add-1", spec_, policy_->descriptor(), {}, nullptr, &metrics_);
  ASSERT_TRUE(sampler.ok());
  int asked = 0;
  const std::vector<PromptTask> tasks = {Train(0)};
  EXPECT_TRUE(absl::IsCancelled(
      (*sampler)->Sample(*policy_, 0, tasks, [&] { return ++asked < 3; }).status()));
  EXPECT_EQ(asked, 3);
}

TEST_F(PromptSamplerTest, AnUnknownVerifierIsRefused) {
  spec_.reward.verifier = "oracle";
  const auto sampler =
      PromptSampler::Create("add-1", spec_, policy_->descriptor(), {}, nullptr, &metrics_);
  EXPECT_THAT(std::string(sampler.status().message()), HasSubstr("oracle"));
}

// Right are sevens; what begins with two sevens fails, in prompt 1 all does.
class MoodyService : public reward::RemoteReward {
 public:
  reward::Judgements JudgeAll(const std::string&, absl::Span<const reward::AnsweredQuestion> items,
                              const reward::KeepGoing& keep_going) override {
    reward::Judgements judgements;
    for (const auto& [question, answer] : items) {
      EXPECT_EQ(question->prompt, "3+4=");
      EXPECT_THAT(question->data_json, HasSubstr(question->id));
      if (!keep_going()) {
        judgements.push_back(absl::CancelledError("over"));
      } else if (question->id == "1" || absl::StartsWith(answer.text, "77")) {
        judgements.push_back(absl::AbortedError("timed out"));
      } else {
        const bool right = answer.finished && answer.text == question->expected;
        judgements.push_back(reward::Judgement{right ? 2.0 : 1.0, right, "moody"});
      }
    }
    return judgements;
  }
};

TEST_F(PromptSamplerTest, ASampleWhoseRewardFailsIsPutAsideAndIsInNoPairAndNoMean) {
  service_ = std::make_unique<MoodyService>();
  spec_.reward.verifier = "service:moody";
  const std::vector<PromptResult> results = Run({Train(0), Train(1), Train(4), Evaluate(1, "7")});
  int64_t failed = 0;
  for (const size_t i : {0, 2}) {
    const PromptResult& result = results[i];
    ASSERT_TRUE(result.status.ok()) << result.status;
    EXPECT_EQ(result.samples + result.failed_samples, 8);
    EXPECT_GE(result.reward_sum, result.samples) << "no reward here is below 1";
    EXPECT_EQ(result.reward_sum, result.samples + result.right_samples);
    for (const trajectory::PreferencePair& pair : result.pairs) {
      EXPECT_EQ(pair.chosen.reward, 2);
      EXPECT_EQ(pair.rejected.reward, 1);
      EXPECT_EQ(pair.rejected.reward_reason, "moody");
    }
    const auto timed_out = result.failures.find("timed out");
    EXPECT_EQ(timed_out == result.failures.end() ? 0 : timed_out->second, result.failed_samples);
    failed += result.failed_samples;
  }
  EXPECT_GT(failed, 0);
  EXPECT_EQ(results[1].status.message(), "timed out") << "too few are left";
  EXPECT_EQ(results[1].failed_samples, 8);
  EXPECT_EQ(results[3].status.message(), "timed out");
  EXPECT_EQ(registry_.Value("dtrpo_rollout_failed_samples_total"),
            static_cast<double>(failed + 8 + 1));
}

TEST_F(PromptSamplerTest, PromptsAreCountedByHowManyOfTheirAnswersAreRight) {
  Run({Train(4), Train(1, "8")});
  EXPECT_EQ(registry_.Value("dtrpo_rollout_judged_prompts_total", {{"answers", "mixed"}}), 1);
  EXPECT_EQ(registry_.Value("dtrpo_rollout_judged_prompts_total", {{"answers", "all_wrong"}}), 1);
  EXPECT_EQ(registry_.Value("dtrpo_rollout_judged_prompts_total", {{"answers", "all_right"}}), 0);
}

TEST_F(PromptSamplerTest, JudgingThatIsNotWantedAnyMoreHandsThePromptsBack) {
  MoodyService service;
  spec_.reward.verifier = "service:moody";
  auto sampler =
      PromptSampler::Create("add-1", spec_, policy_->descriptor(), {}, &service, &metrics_);
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  EXPECT_TRUE((*sampler)->asks_service());
  const std::vector<PromptTask> tasks = {Train(0)};
  auto sampled = (*sampler)->Sample(*policy_, 0, tasks, [] { return true; });
  ASSERT_TRUE(sampled.ok()) << sampled.status();
  const auto results = (*sampler)->Judge(*std::move(sampled), [] { return false; });
  EXPECT_TRUE(absl::IsCancelled(results[0].status)) << results[0].status;
  EXPECT_EQ(results[0].failed_samples, 0);
}

// Each right answer makes a pair here, where best_worst needs as many wrong ones.
TEST_F(PromptSamplerTest, ThePairingPolicyIsTheJobs) {
  Load({{seven_, 0.0}, {kStop, 1.0}});  // mostly nothing, which is right
  spec_.reward.max_pairs_per_prompt = 8;
  std::vector<PromptTask> tasks;
  for (int i = 0; i < 16; ++i) tasks.push_back(Train(i, ""));
  const std::vector<PromptResult> plain = Run(tasks);
  spec_.reward.pairing = "correct_wrong";
  const std::vector<PromptResult> all = Run(tasks);
  int compared = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (all[i].right_samples <= 4 || all[i].right_samples == 8) continue;
    ++compared;
    EXPECT_EQ(static_cast<int64_t>(all[i].pairs.size()), all[i].right_samples);
    EXPECT_LE(plain[i].pairs.size(), 4u);
  }
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace dtrpo::rollout
