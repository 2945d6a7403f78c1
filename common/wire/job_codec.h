// Thread safety: pure functions.
//
// A job's specification between what its user wrote (proto/dtrpo/v1/job.proto, where most fields
// may be left out) and the plain record in which every field has a value. Defaults come from
// common/job/job_spec.h.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/job/job_spec.h"
#include "proto/dtrpo/v1/coordinator.pb.h"
#include "proto/dtrpo/v1/job.pb.h"

namespace dtrpo::wire {

// Fills defaults: a field that isn't set, or is zero and not `optional`, takes the default. Then
// job::Validate; errors are INVALID_ARGUMENT and name the field. FromProto(ToProto(spec)) == spec
// for each valid spec.
absl::StatusOr<job::JobSpec> FromProto(const v1::JobSpec& from);

// Every field set: the resolved specification, as status and checkpoints show it.
void ToProto(const job::JobSpec& from, v1::JobSpec* to);

// The same for equal resolved specifications, and for a program that knows more fields than the one
// that made it, as long as those have their defaults: what checkpoints are matched with their job
// by.
std::string Fingerprint(v1::JobSpec resolved);

// True for SUCCEEDED, FAILED and CANCELLED.
bool IsFinal(v1::JobState state);

}  // namespace dtrpo::wire
