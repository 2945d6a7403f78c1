// Thread safety: pure function.
#pragma once

#include <cstdint>

#include "common/job/job_spec.h"

namespace dtrpo::training {

// The learning rate of step n (from 1): linear warm-up over warmup_steps, then the schedule from
// learning_rate down to learning_rate * final_learning_rate_ratio at the last step.
double LearningRate(const job::TrainingSpec& spec, int64_t step);

}  // namespace dtrpo::training
