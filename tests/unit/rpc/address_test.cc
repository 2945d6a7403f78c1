#include "common/rpc/address.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/rpc/rpc_server.h"

namespace dtrpo::rpc {
namespace {

TEST(AddressTest, ParsesHostAndPort) {
  EXPECT_EQ(ParseAddress("127.0.0.1:4003")->port, 4003);
  EXPECT_EQ(ParseAddress("[::1]:0")->host, "::1");
  EXPECT_EQ(ParseAddress("[::1]:80")->ToString(), "[::1]:80");
  EXPECT_EQ(ParseAddress("replay-0.replay:80")->ToString(), "replay-0.replay:80");
}

TEST(AddressTest, RefusesWhatIsNotHostAndPort) {
  for (const char* text : {"", "localhost", ":80", "h:", "h:x", "h:-1", "h:65536", "[::1:80"}) {
    EXPECT_EQ(ParseAddress(text).status().message(), absl::StrCat("'", text, "' is not host:port"));
  }
}

TEST(AddressTest, OnlyLoopbackIsAllowedInPlainText) {
  for (const char* text : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(CheckInsecureAllowed(*ParseAddress(text), /*insecure=*/false).ok()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "10.0.0.1:1", "replay-0:1", "127.evil.example:1"}) {
    EXPECT_FALSE(CheckInsecureAllowed(*ParseAddress(text), /*insecure=*/false).ok()) << text;
    EXPECT_TRUE(CheckInsecureAllowed(*ParseAddress(text), /*insecure=*/true).ok()) << text;
  }
}

TEST(AddressTest, TellsWhetherSomebodyListens) {
  auto server = RpcServer::Start(ServerOptions(), {});
  ASSERT_TRUE(server.ok()) << server.status();
  const Address address = (*server)->address();
  EXPECT_TRUE(TryConnect(address));
  EXPECT_FALSE(CheckCanListen(address).ok());
  server->reset();
  EXPECT_FALSE(TryConnect(address));
  EXPECT_TRUE(CheckCanListen(address).ok());
  EXPECT_EQ(CheckCanListen({.host = "no.such.host.invalid", .port = 1}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace dtrpo::rpc
