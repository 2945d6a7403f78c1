// Thread safety: plain data; pure functions but for the disk, which is passed in.
//
// What a job of kind eval leaves in its output folder: a run as `dtrpo eval --run` leaves it
// (common/evaluation/run_folder.h), with its report, for `dtrpo compare`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/file_system.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/run_summary.h"
#include "common/job/job_spec.h"
#include "nlohmann/json.hpp"
#include "services/coordinator/prompt_file.h"

namespace dtrpo::coordinator {

struct EvaluationResults {
  std::string folder;
  nlohmann::ordered_json settings;
  std::vector<evaluation::JudgedAnswer> answers;     // by policy
  std::map<std::string, evaluation::Timing> timing;  // of each
};

// The unmask policies of a job of kind eval.
std::vector<std::string> PoliciesOf(const job::JobSpec& spec);

// What run.json says of the job.
nlohmann::ordered_json ResultSettings(const std::string& job_id, const job::JobSpec& spec,
                                      const PromptLines& questions);

// At submit: the layout's own verifier has its service.
absl::Status CheckVerifier(const job::JobSpec& spec);

// At submit: the output folder isn't another run's.
absl::Status CheckResults(const job::JobSpec& spec, base::FileSystem* files);

// On disk when it returns OK. What an earlier call left half done is completed.
absl::Status WriteRun(const EvaluationResults& results, base::FileSystem* files);

}  // namespace dtrpo::coordinator
