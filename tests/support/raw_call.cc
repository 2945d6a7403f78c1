#include "tests/support/raw_call.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <vector>

namespace dtrpo::support {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  buffer.Dump(&slices).ok();
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(slice.begin(), slice.end());
  return bytes;
}

}  // namespace

std::string RawCall(const std::string& host_port, const std::string& method,
                    const std::string& request) {
  grpc::GenericStub stub(grpc::CreateChannel(host_port, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  std::string answer;
  grpc::ByteBuffer response;
  if (next()) {
    call->WriteLast(ToBuffer(request), grpc::WriteOptions(), nullptr);
    if (next()) {
      call->Read(&response, nullptr);
      if (next()) answer = ToString(response);
    }
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  return answer;
}

Health CheckHealth(const std::string& host_port, const std::string& name) {
  // HealthCheckRequest {string service = 1}; HealthCheckResponse {enum status = 1}.
  const std::string answer =
      RawCall(host_port, "/grpc.health.v1.Health/Check",
              "\x0a" + std::string(1, static_cast<char>(name.size())) + name);
  if (answer == "\x08\x01") return Health::kServing;
  return answer == "\x08\x02" ? Health::kNotServing : Health::kNoAnswer;
}

std::string ReflectedServices(const std::string& host_port) {
  // ServerReflectionRequest {string list_services = 7}.
  return RawCall(host_port, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                 std::string("\x3a\x00", 2));
}

}  // namespace dtrpo::support
