// Not thread-safe: belongs to the coordinator's lock.
//
// The learner's curve: one record per step, and from their times how long the rest will take.
// Bounded: beyond max_records every second one of the older half is left out, so a long job keeps
// its whole curve at a lower resolution.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

class StepHistory {
 public:
  explicit StepHistory(size_t max_records = 20000) : max_records_(max_records) {}

  // A repeated step replaces what came before: a learner that resumed computes the steps after its
  // checkpoint again.
  void Add(const v1::StepRecord& record);

  int64_t last_step() const { return records_.empty() ? 0 : records_.back().step(); }
  std::vector<v1::StepRecord> After(int64_t step) const;
  // Mean of the last steps times the steps left; 0 when it can't be told yet.
  double SecondsLeft(int64_t total_steps) const;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(records_);
  }

 private:
  const size_t max_records_;
  std::vector<v1::StepRecord> records_;  // by step
};

}  // namespace dtrpo::coordinator
