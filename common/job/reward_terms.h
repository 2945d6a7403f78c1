// Thread safety: pure function.
#pragma once

#include <vector>

#include "common/job/job_spec.h"
#include "common/reward/judge.h"

namespace dtrpo::job {

// What a Judge of the job's answers adds up: its terms, or its one verifier.
inline std::vector<reward::Term> RewardTerms(const RewardSpec& spec) {
  std::vector<reward::Term> terms;
  for (const RewardTerm& term : spec.terms) terms.push_back({term.verifier, term.weight});
  if (terms.empty()) terms.push_back({spec.verifier, 1});
  return terms;
}

}  // namespace dtrpo::job
