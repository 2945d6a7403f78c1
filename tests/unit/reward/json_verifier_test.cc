#include "common/reward/json_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

constexpr char kSchema[] = R"({"type": "object", "required": ["n"], "additionalProperties": false,
                               "properties": {"n": {"type": "integer", "minimum": 0}}})";

Judgement JudgeJson(const std::string& text) {
  return *(*MakeJsonVerifier(kSchema))->Judge({text, true, 1}, "");
}

TEST(JsonVerifierTest, TheTableOfHardCases) {
  constexpr struct {
    const char* text;
    double reward;
    const char* reason;
  } kCases[] = {
      {R"({"n": 3})", 1, "fits"},
      {R"(  {"n": 3}
      )",
       1, "fits"},
      {"Here:\n```json\n{\"n\": 3}\n```\n", 1, "fits"},
      {"```\n{\"n\": 1}\n``` and ```json\n{\"n\": -1}\n```", 0, "n"},
      {R"({"n": -1})", 0, "<root>[n]: "},
      {R"({"n": 1.5})", 0, "<root>[n]: "},
      {R"({"n": "3"})", 0, "<root>[n]: "},
      {R"({})", 0, "Missing required property 'n'"},
      {R"({"n": 3, "m": 1})", 0, "m"},
      {R"([3])", 0, "type"},
      {R"({"n": 3} trailing)", 0, "is no JSON"},
      {R"({"n": 3)", 0, "is no JSON"},
      {R"({'n': 3})", 0, "is no JSON"},
      {R"({"n": NaN})", 0, "is no JSON"},
      {"", 0, "is no JSON"},
  };
  for (const auto& c : kCases) {
    const Judgement judgement = JudgeJson(c.text);
    EXPECT_EQ(judgement.reward, c.reward) << c.text << ": " << judgement.reason;
    EXPECT_THAT(judgement.reason, HasSubstr(c.reason)) << c.text;
  }
}

TEST(JsonVerifierTest, DepthAndSizeAreBounded) {
  EXPECT_THAT(JudgeJson(std::string(100000, '[')).reason, HasSubstr("is no JSON"));
  EXPECT_THAT(JudgeJson(std::string(500, '[') + std::string(500, ']')).reason,
              HasSubstr("is no JSON"));
  EXPECT_THAT(JudgeJson("{" + std::string(2 << 20, ' ') + "}").reason, HasSubstr("1 MiB"));
}

TEST(JsonVerifierTest, ASchemaThatWouldNeverEndIsRefused) {
  for (const std::string& schema : std::vector<std::string>{
           R"({"$ref": "#"})", R"({"allOf": [{"$ref": "#"}]})",
           R"({"properties": {"a": {"if": {"not": {"$ref": "#/properties/a"}}}}})",
           R"({"definitions": {"a": {"$ref": "#/definitions/b"},
                               "b": {"dependencies": {"x": {"$ref": "#/definitions/a"}}}}})",
           R"({"patternProperties": {"^(a+)+b$": {}}})", R"({"pattern": "(a)\\1"})",
           absl::StrCat(R"({"pattern": ")", std::string(500, '('), std::string(600, ')'), "\"}")}) {
    EXPECT_EQ(MakeJsonVerifier(schema).status().code(), absl::StatusCode::kInvalidArgument)
        << schema;
  }
  // A step into the value ends it; a property may have any name.
  const auto tree = MakeJsonVerifier(R"({"properties": {
      "left": {"$ref": "#"}, "patternProperties": {"pattern": "^x"}}, "type": "object"})");
  ASSERT_TRUE(tree.ok()) << tree.status();
  const auto judge = [&](const char* text) { return (*tree)->Judge({text, true, 1}, "")->reward; };
  EXPECT_EQ(judge(R"({"left": {"left": {}}, "patternProperties": "xy"})"), 1);
  EXPECT_EQ(judge(R"({"left": {"left": 1}})"), 0);
  EXPECT_EQ(judge(R"({"patternProperties": "y"})"), 0);
}

TEST(JsonVerifierTest, APatternTakesNeitherExponentialTimeNorTheStack) {
  const auto verifier =
      MakeJsonVerifier(R"({"pattern": "^(a+)+b$", "propertyNames": {"format": "date"}})");
  ASSERT_TRUE(verifier.ok()) << verifier.status();
  const auto judge = [&](const std::string& text) {
    return *(*verifier)->Judge({text, true, 1}, "");
  };
  const auto quoted = [](size_t length) {
    return absl::StrCat("\"", std::string(length, 'a'), "\"");
  };
  EXPECT_EQ(judge("\"aab\"").reward, 1);
  EXPECT_THAT(judge(quoted(2000)).reason, HasSubstr("pattern"));
  EXPECT_THAT(judge(quoted(300000)).reason, HasSubstr("more than 4096 bytes"));
  EXPECT_THAT(judge(absl::StrCat("{", quoted(300000), ": 1}")).reason,
              HasSubstr("more than 4096 bytes"));
}

TEST(JsonVerifierTest, ASchemaThatMakesNoSenseIsRefused) {
  for (const char* schema :
       {"", "{", "[]", R"({"type": 3})", R"({"$ref": "file:///etc/passwd"})"}) {
    EXPECT_EQ(MakeJsonVerifier(schema).status().code(), absl::StatusCode::kInvalidArgument)
        << schema;
  }
}

}  // namespace
}  // namespace dtrpo::reward
