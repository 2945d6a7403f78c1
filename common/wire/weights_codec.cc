#include "common/wire/weights_codec.h"

#include <utility>

#include "common/base/status_macros.h"

namespace dtrpo::wire {

void ToProto(const weights::Manifest& from, v1::WeightsManifest* to) {
  to->Clear();
  to->set_job_id(from.job_id);
  to->set_version(from.version);
  to->set_generation(from.generation);
  to->set_sha256(from.sha256);
  to->set_base_sha256(from.base_sha256);
  to->set_size_bytes(from.size_bytes);
  to->set_chunk_size_bytes(from.chunk_size_bytes);
  for (const weights::TensorSpec& tensor : from.tensors) {
    v1::TensorSpec* out = to->add_tensors();
    out->set_name(tensor.name);
    out->set_dtype(tensor.dtype);
    out->mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
    out->set_offset_bytes(tensor.offset_bytes);
    out->set_size_bytes(tensor.size_bytes);
  }
}

absl::StatusOr<weights::Manifest> FromProto(const v1::WeightsManifest& from, uint64_t max_bytes) {
  weights::Manifest to;
  to.job_id = from.job_id();
  to.version = from.version();
  to.generation = from.generation();
  to.sha256 = from.sha256();
  to.base_sha256 = from.base_sha256();
  to.size_bytes = from.size_bytes();
  to.chunk_size_bytes = from.chunk_size_bytes();
  to.tensors.reserve(from.tensors_size());
  for (const v1::TensorSpec& tensor : from.tensors()) {
    to.tensors.push_back({.name = tensor.name(),
                          .dtype = tensor.dtype(),
                          .shape = {tensor.shape().begin(), tensor.shape().end()},
                          .offset_bytes = tensor.offset_bytes(),
                          .size_bytes = tensor.size_bytes()});
  }
  DTRPO_RETURN_IF_ERROR(weights::Validate(to, max_bytes));
  return to;
}

}  // namespace dtrpo::wire
