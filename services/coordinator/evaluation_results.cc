#include "services/coordinator/evaluation_results.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/evaluation/question.h"
#include "common/evaluation/run_folder.h"
#include "common/job/reward_terms.h"

namespace dtrpo::coordinator {
namespace {

// As services/rollout/prompt_sampler.cc judges; empty: by the reward.
std::string VerifierOf(const job::JobSpec& spec) {
  return spec.evaluation.verifier.empty() ? evaluation::DefaultVerifier(spec.evaluation.layout)
                                          : spec.evaluation.verifier;
}

}  // namespace

nlohmann::ordered_json ResultSettings(const std::string& job_id, const job::JobSpec& spec,
                                      const PromptLines& questions) {
  base::StableHasher hasher;
  for (const std::string& line : questions) hasher.Add(line);
  std::string verifier = VerifierOf(spec);
  if (verifier.empty()) {
    verifier = spec.reward.terms.empty() ? spec.reward.verifier : "reward.terms";
  }
  return {{"job", job_id},
          {"model", spec.model.path},
          {"data", spec.data.heldout},
          {"layout", spec.evaluation.layout},
          {"questions", questions.size()},
          {"questions_hash", base::Hex64(hasher.Finish())},
          {"verifier", verifier},
          {"samples", spec.evaluation.samples},
          {"temperature", spec.evaluation.temperature},
          {"seed", spec.seed},
          {"max_new_tokens", spec.sampling.max_new_tokens},
          {"sub_block", spec.sampling.sub_block},
          {"pass_k", spec.evaluation.pass_k}};
}

absl::Status CheckResults(const job::JobSpec& spec, base::FileSystem* files) {
  const std::string verifier = VerifierOf(spec);
  if (!reward::ServiceReward(verifier).empty() && spec.reward.service.address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reward.service.address: is required: layout ", spec.evaluation.layout, " is judged by '",
        verifier, "'; or choose a built-in rule as evaluation.verifier"));
  }
  const std::string run = base::JoinPath(spec.output, evaluation::kRunFile);
  if (!files->Exists(run)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("output: ", run, " is of another run; choose another folder"));
}

absl::Status WriteRun(const EvaluationResults& results, base::FileSystem* files) {
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<evaluation::RunFolder> folder,
                         evaluation::RunFolder::Open(files, results.folder, results.settings));
  std::vector<evaluation::JudgedAnswer> missing;
  for (const evaluation::JudgedAnswer& answer : results.answers) {
    if (!folder->Has(answer.unmask, answer.id, answer.sample)) missing.push_back(answer);
  }
  if (!missing.empty()) {
    DTRPO_RETURN_IF_ERROR(folder->Append(missing, missing.front().unmask, {}));
  }
  return folder->WriteSummary();
}

}  // namespace dtrpo::coordinator
