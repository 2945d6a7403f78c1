// Thread safety: a Judge is immutable; JudgeAll may run on many threads.
//
// How good were these answers? A Judge is the weighted sum of terms, each a rule that is checked
// here (verifier.h) or a reward that runs elsewhere ("service:NAME"). An answer that can't be
// judged has an error, never a zero.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/reward/verifier.h"

namespace dtrpo::reward {

struct Question {
  std::string id;         // for messages
  std::string prompt;     // as text; may be empty
  std::string expected;   // what the data says is right; may be empty
  std::string data_json;  // the line of the data file
};

struct AnsweredQuestion {
  const Question* question;  // not owned; for the time of the call
  Answer answer;
};

using Judgements = std::vector<absl::StatusOr<Judgement>>;

// Asked while a reward service takes its time, from any thread; false: CANCELLED for what isn't
// judged yet.
using KeepGoing = std::function<bool()>;

// Rewards that run elsewhere. Thread safety: may be asked from many threads.
class RemoteReward {
 public:
  virtual ~RemoteReward() = default;
  // One for each item, in order, with finite rewards. Takes as long as retries take: an error here
  // is final.
  virtual Judgements JudgeAll(const std::string& reward, absl::Span<const AnsweredQuestion> items,
                              const KeepGoing& keep_going) = 0;
};

struct Term {
  std::string rule;  // of kVerifierRules, or "service:NAME"
  double weight = 1;
};

// "WEIGHT*RULE", as in "0.2*length:1..200"; without a weight 1.
Term ParseTerm(absl::string_view text);

// The NAME of "service:NAME"; empty for other rules.
absl::string_view ServiceReward(absl::string_view rule);

class Judge {
 public:
  ~Judge();

  // `remote` outlives the judge; it may be null where no term is a service's. INVALID_ARGUMENT
  // naming the term.
  static absl::StatusOr<std::unique_ptr<Judge>> Create(std::vector<Term> terms,
                                                       RemoteReward* remote);
  // What Create would say of the terms, services aside.
  static absl::Status Check(absl::Span<const Term> terms);

  // One for each item, in order. Right is what each term calls right; shaping terms (length, tags)
  // have no say in it. Of several terms the reason says what each gave.
  Judgements JudgeAll(
      absl::Span<const AnsweredQuestion> items,
      const KeepGoing& keep_going = [] { return true; }) const;

  // Some terms are asked over the network, so JudgeAll takes its time.
  bool asks_service() const;

 private:
  struct Part;
  Judge(std::vector<Part> parts, RemoteReward* remote);

  const std::vector<Part> parts_;
  RemoteReward* const remote_;
};

}  // namespace dtrpo::reward
