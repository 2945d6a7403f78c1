// Thread safety: pure functions.
//
// TensorBoard's event files: records framed as TFRecord (length, masked CRC-32C of the length,
// bytes, masked CRC-32C of the bytes), each an `Event` of tensorboard/compat/proto/event.proto.
// Scalars are all that is written, which is a handful of fields, so they are encoded here.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace dtrpo::ctl {

// What a file begins with.
std::string EventFileHeader(double unix_seconds);

std::string ScalarEvent(double unix_seconds, int64_t step, absl::string_view tag, double value);

}  // namespace dtrpo::ctl
