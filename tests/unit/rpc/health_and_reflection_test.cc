// Health checks and reflection as foreign tools use them: raw bytes, no interceptors of ours.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/rpc/rpc_server.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"

namespace dtrpo::rpc {
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

class HealthAndReflectionTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = RpcServer::Start(ServerOptions(), {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = std::make_unique<grpc::GenericStub>(
        grpc::CreateChannel(server_->address().ToString(), grpc::InsecureChannelCredentials()));
  }

  // Sends one message on a stream, returns the first answer; empty after an error.
  std::string Exchange(const std::string& method, const std::string& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    grpc::CompletionQueue queue;
    auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    auto call = stub_->PrepareCall(&context, method, &queue);
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

  // HealthCheckRequest {string service = 1}; HealthCheckResponse {enum status = 1}.
  std::string CheckHealth(const std::string& name) {
    return Exchange("/grpc.health.v1.Health/Check",
                    "\x0a" + std::string(1, static_cast<char>(name.size())) + name);
  }

  v1::IntrospectionService::Service service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
};

constexpr char kServing[] = "\x08\x01";
constexpr char kNotServing[] = "\x08\x02";

TEST_F(HealthAndReflectionTest, LiveIsServingFromTheStartAndReadyWhenTold) {
  EXPECT_EQ(CheckHealth("live"), kServing);
  EXPECT_EQ(CheckHealth("ready"), kNotServing);
  EXPECT_EQ(CheckHealth(""), kNotServing);
  server_->SetReady(true);
  EXPECT_EQ(CheckHealth("ready"), kServing);
  EXPECT_EQ(CheckHealth(""), kServing);
  server_->SetReady(false);
  EXPECT_EQ(CheckHealth("live"), kServing);
  EXPECT_EQ(CheckHealth("ready"), kNotServing);
}

TEST_F(HealthAndReflectionTest, ReflectionListsTheServices) {
  // ServerReflectionRequest {string list_services = 7}.
  const std::string answer = Exchange(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", std::string("\x3a\x00", 2));
  EXPECT_THAT(answer, testing::HasSubstr("dtrpo.v1.IntrospectionService"));
  EXPECT_THAT(answer, testing::HasSubstr("grpc.health.v1.Health"));
}

}  // namespace
}  // namespace dtrpo::rpc
