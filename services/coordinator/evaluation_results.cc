#include "services/coordinator/evaluation_results.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/evaluation/question.h"
#include "common/evaluation/run_folder.h"
#include "common/job/reward_terms.h"
#include "common/report/evaluation_report.h"

namespace dtrpo::coordinator {

std::vector<std::string> PoliciesOf(const job::JobSpec& spec) {
  if (!spec.evaluation.policies.empty()) return spec.evaluation.policies;
  return {spec.evaluation.unmask.empty() ? spec.sampling.unmask : spec.evaluation.unmask};
}

nlohmann::ordered_json ResultSettings(const std::string& job_id, const job::JobSpec& spec,
                                      const PromptLines& questions) {
  base::StableHasher hasher;
  for (const std::string& line : questions) hasher.Add(line);
  std::string verifier = evaluation::VerifierOf(spec.evaluation.verifier, spec.evaluation.layout);
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

absl::Status CheckVerifier(const job::JobSpec& spec) {
  const std::string verifier =
      evaluation::VerifierOf(spec.evaluation.verifier, spec.evaluation.layout);
  if (!reward::ServiceReward(verifier).empty() && spec.reward.service.address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reward.service.address: is required: layout ", spec.evaluation.layout, " is judged by '",
        verifier, "'; or choose a built-in rule as evaluation.verifier"));
  }
  return absl::OkStatus();
}

absl::Status CheckResults(const job::JobSpec& spec, base::FileSystem* files) {
  const std::string run = base::JoinPath(spec.output, evaluation::kRunFile);
  if (!files->Exists(run)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("output: ", run, " is of another run; choose another folder"));
}

absl::Status WriteRun(const EvaluationResults& results, base::FileSystem* files) {
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<evaluation::RunFolder> folder,
                         evaluation::RunFolder::Open(files, results.folder, results.settings));
  for (auto begin = results.answers.begin(); begin != results.answers.end();) {
    const std::string& unmask = begin->unmask;
    std::vector<evaluation::JudgedAnswer> missing;
    for (; begin != results.answers.end() && begin->unmask == unmask; ++begin) {
      if (!folder->Has(unmask, begin->id, begin->sample)) missing.push_back(*begin);
    }
    // A policy's timing is written after its answers.
    if (folder->run().timing.count(unmask) > 0) continue;
    const auto timing = results.timing.find(unmask);
    DTRPO_RETURN_IF_ERROR(folder->Append(
        missing, unmask, timing == results.timing.end() ? evaluation::Timing() : timing->second));
  }
  DTRPO_RETURN_IF_ERROR(folder->WriteSummary());
  return report::WriteEvaluationReport(files, folder->run()).status();
}

}  // namespace dtrpo::coordinator
