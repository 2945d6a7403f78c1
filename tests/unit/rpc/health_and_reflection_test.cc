// Health checks and reflection as foreign tools use them: raw bytes, no interceptors of ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/rpc/rpc_server.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"
#include "tests/support/raw_call.h"

namespace dtrpo::rpc {
namespace {

using support::Health;

class HealthAndReflectionTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = RpcServer::Start(ServerOptions(), {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Health Check(const std::string& name) {
    return support::CheckHealth(server_->address().ToString(), name);
  }

  v1::IntrospectionService::Service service_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(HealthAndReflectionTest, LiveIsServingFromTheStartAndReadyWhenTold) {
  EXPECT_EQ(Check("live"), Health::kServing);
  EXPECT_EQ(Check("ready"), Health::kNotServing);
  EXPECT_EQ(Check(""), Health::kNotServing);
  server_->SetReady(true);
  EXPECT_EQ(Check("ready"), Health::kServing);
  EXPECT_EQ(Check(""), Health::kServing);
  server_->SetReady(false);
  EXPECT_EQ(Check("live"), Health::kServing);
  EXPECT_EQ(Check("ready"), Health::kNotServing);
}

TEST_F(HealthAndReflectionTest, ReflectionListsTheServices) {
  const std::string answer = support::ReflectedServices(server_->address().ToString());
  EXPECT_THAT(answer, testing::HasSubstr("dtrpo.v1.IntrospectionService"));
  EXPECT_THAT(answer, testing::HasSubstr("grpc.health.v1.Health"));
}

}  // namespace
}  // namespace dtrpo::rpc
