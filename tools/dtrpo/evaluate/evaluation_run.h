// Thread safety: one thread.
//
// Answers the questions of an evaluation with one model, under one or several unmask policies, and
// judges them. Answers go into the run's folder batch by batch; those that are there already aren't
// sampled again. A seed of its own for each answer makes the numbers the same whatever the batch,
// the order or the interruption.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/diffusion/block_sampler.h"
#include "common/evaluation/question.h"
#include "common/evaluation/run_folder.h"
#include "common/model/transformer.h"
#include "common/reward/judge.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

class EvaluationRun {
 public:
  struct Options {
    trajectory::SamplerParameters parameters;  // `unmask` is replaced by each policy
    std::vector<std::string> policies;
    int32_t samples = 1;  // answers to each question
    uint64_t seed = 1;
    int32_t batch = 256;  // sequences that share a forward at most
    // Told between forwards.
    std::function<void(const std::string& policy, int64_t done, int64_t all)> progress;
  };
  struct Deps {
    const model::Transformer* model;
    const text::PromptEncoder* encoder;
    const reward::Judge* judge;
    evaluation::RunFolder* folder;
    base::Clock* clock = base::RealClock();
  };
  // `tokens`: of each question's prompt. Everything in `deps` outlives the run.
  EvaluationRun(std::vector<evaluation::Question> questions,
                std::vector<std::vector<int32_t>> tokens, Options options, Deps deps);

  // INVALID_ARGUMENT and what sampling and judging return, naming the question. What is in the
  // folder by then stays there.
  absl::Status Run();

 private:
  struct Wanted {
    size_t question;
    int32_t sample;
  };
  absl::Status RunPolicy(const std::string& policy);
  absl::StatusOr<std::vector<evaluation::JudgedAnswer>> Judge(
      const std::string& policy, const Wanted* wanted,
      const std::vector<trajectory::Trajectory>& trajectories) const;

  const std::vector<evaluation::Question> questions_;
  const std::vector<std::vector<int32_t>> tokens_;
  const Options options_;
  const Deps deps_;
};

}  // namespace dtrpo::tools
