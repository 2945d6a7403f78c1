#include "common/rpc/access_table.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

namespace dtrpo::rpc {
namespace {

using testing::HasSubstr;

// "/package.Service/Method" of everything under proto/, as protoc reads it.
std::set<std::string> MethodsOfAllProtos() {
  const std::string path = testing::TempDir() + "all_protos.binpb";
  const std::string command =
      absl::StrCat("cd '", DTRPO_SOURCE_DIR, "' && protoc --proto_path . --descriptor_set_out '",
                   path, "' $(find proto -name '*.proto')");
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream file(path, std::ios::binary);
  google::protobuf::FileDescriptorSet protos;
  EXPECT_TRUE(protos.ParseFromIstream(&file)) << path;
  std::set<std::string> methods;
  for (const auto& proto : protos.file()) {
    for (const auto& service : proto.service()) {
      for (const auto& method : service.method()) {
        methods.insert(absl::StrCat("/", proto.package(), ".", service.name(), "/", method.name()));
      }
    }
  }
  return methods;
}

TEST(AccessTableTest, EveryRpcHasARowAndEveryRowIsAnRpc) {
  std::set<std::string> expected = MethodsOfAllProtos();
  EXPECT_GT(expected.size(), 30u);
  expected.insert({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
                   "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"});
  std::set<std::string> rows;
  for (const AccessRow& row : AccessTable()) {
    EXPECT_TRUE(rows.emplace(row.method).second) << row.method << " has two rows";
  }
  for (const std::string& method : expected) {
    EXPECT_EQ(rows.count(method), 1u)
        << method << " has no row in access_table.cc: nobody may call "
        << "it over TLS";
  }
  for (const std::string& row : rows) {
    EXPECT_EQ(expected.count(row), 1u) << "access_table.cc names " << row << ", which isn't there";
  }
}

TEST(AccessTableTest, ARolloutInsertsButPushesNoWeights) {
  EXPECT_TRUE(CheckAccess("/dtrpo.v1.ReplayService/Insert", Role::kRollout).ok());
  const absl::Status push = CheckAccess("/dtrpo.v1.WeightsService/PushWeights", Role::kRollout);
  EXPECT_EQ(push.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(push.message()), HasSubstr("role rollout may not call "));
  EXPECT_TRUE(CheckAccess("/dtrpo.v1.WeightsService/PushWeights", Role::kLearner).ok());
}

TEST(AccessTableTest, AClientSubmitsButLeasesNothing) {
  EXPECT_TRUE(CheckAccess("/dtrpo.v1.JobService/SubmitJob", Role::kClient).ok());
  EXPECT_FALSE(CheckAccess("/dtrpo.v1.WorkerService/LeasePrompts", Role::kClient).ok());
  EXPECT_FALSE(CheckAccess("/dtrpo.v1.ReplayService/Insert", Role::kClient).ok());
}

TEST(AccessTableTest, AMonitorChangesNothing) {
  for (const AccessRow& row : AccessTable()) {
    if (!row.callers.Has(Role::kMonitor)) continue;
    const std::string method(row.method.substr(row.method.rfind('/') + 1));
    const bool looks = method.rfind("Get", 0) == 0 || method.rfind("List", 0) == 0 ||
                       method.rfind("Watch", 0) == 0 || method == "Handshake" ||
                       method == "Check" || method == "ServerReflectionInfo";
    EXPECT_TRUE(looks) << row.method;
  }
}

TEST(AccessTableTest, WhatIsInNoRowNobodyMayCall) {
  for (const Role role : AllRoles()) {
    EXPECT_FALSE(CheckAccess("/dtrpo.v1.JobService/Sing", role).ok());
    EXPECT_FALSE(CheckAccess("", role).ok());
  }
}

TEST(RolesTest, ARoleIsOneUriAndNothingElse) {
  for (const Role role : AllRoles()) {
    EXPECT_EQ(RoleOfUri(RoleUri(role)), role);
    EXPECT_EQ(ParseRole(RoleName(role)), role);
  }
  EXPECT_EQ(RoleUri(Role::kRollout), "spiffe://dtrpo/role/rollout");
  for (const char* uri : {"", "rollout", "spiffe://dtrpo/role/", "spiffe://dtrpo/role/rollout/x",
                          "spiffe://elsewhere/role/rollout", "spiffe://dtrpo/role/Rollout"}) {
    EXPECT_FALSE(RoleOfUri(uri).has_value()) << uri;
  }
}

}  // namespace
}  // namespace dtrpo::rpc
