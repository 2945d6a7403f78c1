// Thread safety: one writer of a folder at a time.
//
// Checkpoint folders in Fast-dLLM-v2's layout with a model so small that a forward takes well under
// a millisecond, for tests of whatever loads one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/model/transformer.h"
#include "common/trajectory/trajectory.h"
#include "tests/support/random_trajectory.h"

namespace dtrpo::support {

struct TinyCheckpoint {
  uint64_t seed = 1;  // of the weights
  // Folder of the arithmetic example, whose tokenizer and vocabulary of 280 are taken over; empty:
  // a vocabulary of 40 and no text.
  std::string tokenizer_from = "";
  bool tied = true;
};

// Vocabulary 40, mask 39, stop 38, block 4 (with a tokenizer: 280, 275, 274, 4). Replaces `path`.
// Aborts when that can't be done.
void WriteTinyCheckpoint(const std::string& path, const TinyCheckpoint& options = {});

// The model of a folder, in float32.
std::unique_ptr<model::Transformer> LoadModel(const std::string& path, bool requires_grad = false);

// Trajectories that fit a tiny model without tokenizer.
TrajectoryShape TinyShape();

// A valid pair of such trajectories over one prompt, with `version` as the weights that made them.
trajectory::PreferencePair TinyPair(uint64_t seed, int64_t version = 0);

// An empty folder of the running test's own.
std::string TestFolder();

}  // namespace dtrpo::support
