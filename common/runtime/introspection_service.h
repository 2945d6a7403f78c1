// What every process answers, whatever its role: who it is and what it waits for. Thread-safe.
#pragma once

#include <string>
#include <utility>

#include "common/base/wait_states.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"

namespace dtrpo::runtime {

class IntrospectionService : public v1::IntrospectionService::Service {
 public:
  // `waits` outlives the service.
  IntrospectionService(std::string role, const base::WaitStateRegistry* waits)
      : role_(std::move(role)), waits_(waits) {}

  grpc::Status Handshake(grpc::ServerContext* context, const v1::HandshakeRequest* request,
                         v1::HandshakeResponse* response) override;
  grpc::Status GetWaitStates(grpc::ServerContext* context, const v1::GetWaitStatesRequest* request,
                             v1::GetWaitStatesResponse* response) override;

 private:
  const std::string role_;
  const base::WaitStateRegistry* const waits_;
};

}  // namespace dtrpo::runtime
