// Thread safety: verifiers are immutable; Judge may run on many threads.
//
// Rule-based verifiers: how good was an answer? Each says in its file what it accepts, and in every
// judgement why. An answer without a stop token gets 0 whatever it says: it would be cut in use,
// too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::reward {

struct Answer {
  absl::string_view text;  // decoded targets without the stop token
  bool finished = false;   // the stop token is there
  int64_t tokens = 0;      // targets, the stop token among them
};

struct Judgement {
  double reward = 0;
  bool correct = false;  // for evaluations; shaping (length, tags) has no say in it
  std::string reason;    // one line that a person can follow
};

class Verifier {
 public:
  virtual ~Verifier() = default;

  // `expected`: what the data says is right. INVALID_ARGUMENT when it can't be judged against (a
  // fault of the data, never a zero reward).
  absl::StatusOr<Judgement> Judge(const Answer& answer, absl::string_view expected) const;

  // A rule is a name and, behind a colon, what it needs; kVerifierRules lists them.
  // INVALID_ARGUMENT for others.
  static absl::StatusOr<std::unique_ptr<Verifier>> Create(absl::string_view rule);

  // What Judge does but for the stop token.
  virtual absl::Status CheckExpected(absl::string_view expected) const = 0;
  virtual Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const = 0;
  // Only forms the reward: has no opinion about being right.
  virtual bool IsShaping() const { return false; }
};

// For help texts: one rule a line.
extern const char kVerifierRules[];

// 'text', cut after 80 bytes, for reasons.
std::string Quoted(absl::string_view text);

}  // namespace dtrpo::reward
