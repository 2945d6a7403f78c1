// Thread safety: one thread at a time.
//
// How the ranks of an attempt keep in step. Before each step every rank says a word, and what is
// done is the same for all: the leader (rank 0) says what comes next, since it alone hears of
// batches, pauses and early checkpoints in time; a rank whose process is to leave makes all leave.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/status_macros.h"
#include "common/collectives/process_group.h"

namespace dtrpo::learner {

enum class Word : char {
  kStep = 's',        // the next batch is there
  kWait = 'w',        // nothing to do for now
  kCheckpoint = 'c',  // of the steps made
  kLeave = 'l',       // checkpoint, then end the attempt; another goes on
  kEnd = 'e',         // no further batches
};

// `group` null: alone, and the word counts as it is.
inline absl::StatusOr<Word> Agree(collectives::ProcessGroup* group, Word own) {
  if (group == nullptr) return own;
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> words,
                         group->AllGatherBytes(std::string(1, static_cast<char>(own))));
  for (const std::string& word : words) {
    if (word[0] == static_cast<char>(Word::kLeave)) return Word::kLeave;
  }
  return static_cast<Word>(words[0][0]);
}

}  // namespace dtrpo::learner
