// Thread safety: gRPC calls it from many threads.
//
// Generate (proto/dtrpo/v1/generate.proto) on top of TextGenerator: conversion only. An answer is
// made on its call's thread. A caller that reads slowly slows down its own answer alone, and one
// that doesn't read keeps its place among max_generate_calls until its deadline.
#pragma once

#include "common/base/clock.h"
#include "proto/dtrpo/v1/generate.grpc.pb.h"
#include "services/rollout/text_generator.h"

namespace dtrpo::rollout {

class GenerateService final : public v1::GenerateService::Service {
 public:
  // Both outlive the service.
  GenerateService(TextGenerator* generator, base::Clock* clock)
      : generator_(generator), clock_(clock) {}

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;

 private:
  TextGenerator* const generator_;
  base::Clock* const clock_;
};

}  // namespace dtrpo::rollout
