// Thread-safe. Sees each incoming call over TLS before its handler runs, and ends it there unless
// the access table lets the certificate's role make it: UNAUTHENTICATED (the certificate names no
// role), PERMISSION_DENIED. Health and reflection are in the table, too.
#pragma once

#include <grpcpp/security/auth_metadata_processor.h>

#include <optional>

#include "common/rpc/call_metrics.h"
#include "common/rpc/roles.h"

namespace dtrpo::rpc {

// Of the caller's certificate; nullopt in plain text.
std::optional<Role> PeerRole(const grpc::AuthContext& context);

class CallAuthorizer : public grpc::AuthMetadataProcessor {
 public:
  // Refused calls are counted as others are, see call_metrics.h. `metrics` outlives the server.
  explicit CallAuthorizer(const CallMetrics* metrics) : metrics_(metrics) {}

  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* consumed, OutputMetadata* response) override;

 private:
  const CallMetrics* const metrics_;
};

}  // namespace dtrpo::rpc
