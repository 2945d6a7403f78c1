// Thread safety: a pure function. A small job's status, as the coordinator would give it.
#pragma once

#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::tools {

// Three steps; evaluated at versions 0 (2 of 4 right) and 3 (3 of 4 right), and incompletely at 2.
inline v1::JobStatus SmallJob() {
  v1::JobStatus status;
  status.set_job_id("add-1");
  status.set_state(v1::SUCCEEDED);
  status.set_reason("all steps made");
  status.set_step(3);
  status.set_checkpoint("/out/checkpoints/step-3");
  status.set_started_unix_ms(10'000);
  status.set_finished_unix_ms(12'500);
  const auto evaluate = [&](int64_t version, int64_t correct, bool complete) {
    v1::EvaluationRecord& record = *status.add_evaluations();
    record.set_version(version);
    record.set_step(version);
    record.set_correct(correct);
    record.set_total(4);
    record.set_complete(complete);
    v1::EvaluationSample& sample = *record.add_samples();
    sample.set_prompt("user\n1+2=\nassistant\n");
    sample.set_expected("3");
    sample.set_answer(version == 0 ? "<b>7</b>" : "3");
    sample.set_correct(version != 0);
    for (const char* frame : {"░░", "░░", "3░", "3"}) sample.add_denoising(frame);
  };
  evaluate(0, 2, true);
  evaluate(2, 4, false);
  evaluate(3, 3, true);
  for (int64_t step = 1; step <= 3; ++step) {
    v1::StepRecord& record = *status.add_steps();
    record.set_step(step);
    (*record.mutable_values())["reward_mean"] = 0.25 * static_cast<double>(step);
  }
  return status;
}

}  // namespace dtrpo::tools
