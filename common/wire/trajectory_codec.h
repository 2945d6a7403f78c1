// Thread safety: pure functions.
//
// Trajectories and pairs between their wire form (proto/dtrpo/v1/trajectory.proto) and their plain
// records. What comes from the wire is validated here, once, so no service stores or scores a
// record that nobody checked. Errors are INVALID_ARGUMENT and name the trajectory and the field.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trajectory/trajectory.h"
#include "proto/dtrpo/v1/trajectory.pb.h"

namespace dtrpo::wire {

v1::FinishReason ToProto(trajectory::FinishReason reason);
void ToProto(const trajectory::SamplerParameters& from, v1::SamplerParameters* to);
void ToProto(const trajectory::Trajectory& from, v1::Trajectory* to);
void ToProto(const trajectory::PreferencePair& from, v1::PreferencePair* to);

// `vocabulary_size` 0: token ids are only checked to be >= 0.
absl::StatusOr<trajectory::Trajectory> FromProto(const v1::Trajectory& from,
                                                 int64_t vocabulary_size = 0);
absl::StatusOr<trajectory::PreferencePair> FromProto(const v1::PreferencePair& from,
                                                     int64_t vocabulary_size = 0);

// The scripted form: proto3 JSON with the names of the .proto file, zeros printed, on one line
// without a line break.
std::string ToJsonLine(const trajectory::Trajectory& from);

// Reads what ToJsonLine writes, and what people write by hand: unknown fields are ignored, and a
// field that isn't there takes the value that says the least (format_version: the current one;
// stop_index: -1; finish_reason: by stop_index; neither weights_version nor behaviour_logprob:
// external; sampler: no filters and room for the whole response).
absl::StatusOr<trajectory::Trajectory> FromJsonLine(absl::string_view line,
                                                    int64_t vocabulary_size = 0);

}  // namespace dtrpo::wire
