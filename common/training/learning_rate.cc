#include "common/training/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dtrpo::training {

double LearningRate(const job::TrainingSpec& spec, int64_t step) {
  if (step <= spec.warmup_steps)
    return spec.learning_rate * static_cast<double>(step) / spec.warmup_steps;
  const int64_t span = spec.steps - 1 - spec.warmup_steps;
  const double progress = span <= 0 ? 0.0
                                    : std::clamp(static_cast<double>(step - 1 - spec.warmup_steps) /
                                                     static_cast<double>(span),
                                                 0.0, 1.0);
  double remaining = 1;  // 1 at the start, 0 at the end
  switch (spec.schedule) {
    case job::Schedule::kConstant:
      return spec.learning_rate;
    case job::Schedule::kLinear:
      remaining = 1 - progress;
      break;
    case job::Schedule::kCosine:
      remaining = 0.5 * (1 + std::cos(std::numbers::pi * progress));
      break;
  }
  const double ratio = spec.final_learning_rate_ratio;
  return spec.learning_rate * (ratio + (1 - ratio) * remaining);
}

}  // namespace dtrpo::training
