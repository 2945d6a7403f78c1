#include "common/base/redact.h"

#include <gtest/gtest.h>

namespace dtrpo::base {
namespace {

TEST(RedactTest, PasswordsOfConnectionStringsAreHidden) {
  const std::pair<const char*, const char*> cases[] = {
      {"host=db password=secret dbname=x", "host=db password=*** dbname=x"},
      {"password = 'se cr\\'et' host=db", "password = *** host=db"},
      {"PASSWORD=a\\ b user=c", "PASSWORD=*** user=c"},
      {"sslpassword=x password=", "sslpassword=*** password=***"},
      {"password='open", "password=***"},
      {"postgresql://user:secret@db:5432/x", "postgresql://user:***@db:5432/x"},
      {"postgres://user:p@ss/w:rd@db/x?password=y&z=1",
       "postgres://user:***@db/x?password=***&z=1"},
      {"invalid URI: \"postgres://u:p@[::1\", really",
       "invalid URI: \"postgres://u:***@[::1\", really"},
  };
  for (const auto& [text, shown] : cases) EXPECT_EQ(HideSecrets(text), shown);
}

TEST(RedactTest, OtherTextStays) {
  for (const char* text : {"", "host=db user=replay", "postgresql://db:5432/x", "no password here",
                           "http://a/b and http://c:80/d", "password"}) {
    EXPECT_EQ(HideSecrets(text), text);
  }
}

}  // namespace
}  // namespace dtrpo::base
