#include "common/evaluation/question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/evaluation/prompt_template.h"
#include "common/reward/verifier.h"
#include "nlohmann/json.hpp"

namespace dtrpo::evaluation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A line as it is published; made up, but in every field like the real ones.
constexpr char kGsm8k[] =
    R"({"question": "Ann has 3 apples and buys 4. How many?", "answer": "3+4=<<3+4=7>>7\n#### 7"})";
constexpr char kMath[] =
    R"({"problem": "What is $\\frac12+\\frac14$?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{\\frac{3}{4}}$."})";
constexpr char kGpqa[] =
    R"({"Record ID": "rec1", "Question": "Which is a noble gas?", "Correct Answer": "Neon\n", "Incorrect Answer 1": "Iron", "Incorrect Answer 2": "Gold", "Incorrect Answer 3": "Lead", "High-level domain": "Chemistry", "Subdomain": "Inorganic Chemistry"})";
constexpr char kMbpp[] =
    R"({"task_id": 11, "prompt": "Write a function to double a number.", "code": "def f(x): return 2*x", "test_imports": ["import math"], "test_list": ["assert f(1) == 2", "assert f(2) == 4"], "test": "for i in range(9): assert f(i) == 2*i"})";
constexpr char kLiveCodeBench[] =
    R"({"question_id": "1873_A", "question_title": "Sum", "question_content": "Add two numbers.", "difficulty": "easy", "starter_code": "", "public_test_cases": "[{\"input\": \"1 2\", \"output\": \"3\", \"testtype\": \"stdin\"}]", "private_test_cases": "[{\"input\": \"5 5\", \"output\": \"10\", \"testtype\": \"stdin\"}]", "metadata": "{\"func_name\": \"add\"}"})";
constexpr char kIfeval[] =
    R"({"key": 1000, "prompt": "Answer without commas, in 3 bullets.", "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"], "kwargs": [{}, {"num_bullets": 3}]})";

Question ReadOne(const std::string& line, const std::string& layout, uint64_t seed = 1) {
  const auto questions = ReadQuestions(line, "q.jsonl", {.layout = layout, .seed = seed});
  EXPECT_TRUE(questions.ok()) << questions.status();
  return questions.ok() ? questions->front() : Question();
}

TEST(QuestionTest, Gsm8kExpectsTheNumberBehindTheMark) {
  const Question question = ReadOne(kGsm8k, "gsm8k");
  EXPECT_EQ(question.id, "gsm8k-1");
  EXPECT_EQ(question.expected, "7");
  EXPECT_THAT(question.prompt, HasSubstr("Ann has 3 apples"));
  EXPECT_THAT(question.prompt, HasSubstr("####"));
}

TEST(QuestionTest, MathExpectsWhatIsBoxedAndKnowsTypeAndLevel) {
  const Question question = ReadOne(kMath, "math");
  EXPECT_EQ(question.expected, "\\frac{3}{4}");
  EXPECT_THAT(question.categories, ElementsAre("Algebra", "Level 1"));
}

TEST(QuestionTest, GpqaShufflesTheChoicesBySeedAndQuestionAlone) {
  const Question question = ReadOne(kGpqa, "gpqa");
  EXPECT_THAT(question.prompt, HasSubstr(absl::StrCat(question.expected, ") Neon\n")));
  EXPECT_THAT(question.categories, ElementsAre("Chemistry", "Inorganic Chemistry"));
  // The lines around it don't matter.
  std::string other = kGpqa;
  other.replace(other.find("rec1"), 4, "rec0");
  other.replace(other.find("noble"), 5, "heavy");
  const auto both =
      ReadQuestions(absl::StrCat(other, "\n\n", kGpqa, "\n"), "q", {.layout = "gpqa"});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ((*both)[1].prompt, question.prompt);

  std::map<std::string, int> letters;
  for (uint64_t seed = 0; seed < 400; ++seed) ++letters[ReadOne(kGpqa, "gpqa", seed).expected];
  ASSERT_EQ(letters.size(), 4u);
  for (const auto& [letter, count] : letters) EXPECT_NEAR(count, 100, 35) << letter;
}

TEST(QuestionTest, CodeLayoutsHandAllTestsToTheVerifierAndShowOnlyTheFirst) {
  const Question mbpp = ReadOne(kMbpp, "mbpp");
  EXPECT_EQ(mbpp.id, "11");
  EXPECT_THAT(mbpp.prompt, HasSubstr("assert f(2) == 4"));
  EXPECT_EQ(mbpp.prompt.find("range(9)"), std::string::npos);
  EXPECT_EQ(mbpp.expected, "assert f(1) == 2\nassert f(2) == 4");
  const auto data = nlohmann::json::parse(mbpp.line);
  EXPECT_EQ(data["test_imports"][0], "import math");
  EXPECT_THAT(std::string(data["test"]), HasSubstr("range(9)"));

  const Question live = ReadOne(kLiveCodeBench, "livecodebench");
  EXPECT_EQ(live.id, "1873_A");
  EXPECT_THAT(live.categories, ElementsAre("easy"));
  EXPECT_THAT(live.prompt, HasSubstr("standard input"));
  const auto cases = nlohmann::json::parse(live.line);
  EXPECT_THAT(std::string(cases["private_test_cases"]), HasSubstr("10"));
  EXPECT_THAT(std::string(cases["metadata"]), HasSubstr("add"));
}

TEST(QuestionTest, IfevalHandsTheInstructionsToTheVerifier) {
  const Question question = ReadOne(kIfeval, "ifeval");
  EXPECT_EQ(question.id, "1000");
  EXPECT_EQ(question.prompt, "Answer without commas, in 3 bullets.");
  EXPECT_THAT(question.categories, ElementsAre("punctuation", "detectable_format"));
  const auto data = nlohmann::json::parse(question.line);
  EXPECT_EQ(data["kwargs"][1]["num_bullets"], 3);
  EXPECT_EQ(data["instruction_id_list"].size(), 2u);
}

TEST(QuestionTest, TheLineOfAQuestionReadsBackAsTheSame) {
  for (const auto& [layout, line] : std::map<std::string, std::string>{
           {"gsm8k", kGsm8k}, {"math", kMath}, {"gpqa", kGpqa}, {"mbpp", kMbpp}}) {
    const Question question = ReadOne(line, layout);
    const auto again = ParseQuestionLine(question.line, "answer");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->id, question.id);
    EXPECT_EQ(again->prompt, question.prompt);
    EXPECT_EQ(again->expected, question.expected);
    EXPECT_EQ(again->categories, question.categories);
  }
}

TEST(QuestionTest, PromptsAreTakenAsTheyAre) {
  const char kLine[] = R"({"id": 3, "prompt": "2+2=", "answer": 4, "category": "sums"})";
  const Question question = ReadOne(kLine, "prompts");
  EXPECT_EQ(question.line, kLine);
  EXPECT_EQ(question.id, "3");
  EXPECT_EQ(question.expected, "4");
  EXPECT_THAT(question.categories, ElementsAre("sums"));
}

TEST(QuestionTest, BadLinesAreNamed) {
  const std::map<std::pair<std::string, std::string>, std::string> cases = {
      {{"gsm8k", R"({"question": "a", "answer": "7"})"}, "q:2: field 'answer': has no \"#### \""},
      {{"gsm8k", R"({"answer": "#### 7"})"}, "q:2: field 'question': missing"},
      {{"gsm8k", R"({"question": "a", "answer": "#### seven"})"}, "is no number"},
      {{"math", R"({"problem": "a", "solution": "4"})"}, "field 'solution': has no \\boxed{}"},
      {{"gpqa", R"({"Question": "a", "Correct Answer": "b"})"}, "field 'Incorrect Answer 1'"},
      {{"mbpp", R"({"task_id": 1, "text": "a", "test_list": []})"}, "field 'test_list': is empty"},
      {{"livecodebench", R"({"question_content": "a"})"}, "field 'public_test_cases': missing"},
      {{"ifeval", R"({"key": 1, "prompt": "a", "instruction_id_list": ["x:y"], "kwargs": []})"},
       "field 'kwargs'"},
      {{"prompts", "7"}, "q:2: not a JSON object"},
  };
  for (const auto& [input, message] : cases) {
    const auto questions = ReadQuestions("\n" + input.second, "q", {.layout = input.first});
    EXPECT_THAT(std::string(questions.status().message()), HasSubstr(message)) << input.second;
  }
  const auto twice = ReadQuestions(absl::StrCat(kIfeval, "\n", kIfeval), "q", {.layout = "ifeval"});
  EXPECT_THAT(std::string(twice.status().message()), HasSubstr("'1000' is also on line 1"));
  EXPECT_FALSE(ReadQuestions("\n", "q", {.layout = "gsm8k"}).ok());
  EXPECT_FALSE(ReadQuestions(kGsm8k, "q", {.layout = "mmlu"}).ok());
}

TEST(QuestionTest, AnswersThatLookLikeThePublishedOnesAreRight) {
  for (const auto& [layout, answer] : std::map<std::string, std::string>{
           {"gsm8k", "3 and 4 make 7.\n#### 7"}, {"gpqa", "It is inert.\nAnswer: LETTER"}}) {
    const Question question = ReadOne(layout == "gsm8k" ? kGsm8k : kGpqa, layout);
    const auto verifier = reward::Verifier::Create(VerifierOf("", layout));
    ASSERT_TRUE(verifier.ok()) << verifier.status();
    std::string text = answer;
    if (layout == "gpqa") text.replace(text.find("LETTER"), 6, question.expected);
    const auto judged = (*verifier)->Judge({text, true, 9}, question.expected);
    ASSERT_TRUE(judged.ok()) << judged.status();
    EXPECT_TRUE(judged->correct) << judged->reason;
  }
  EXPECT_EQ(VerifierOf("", "prompts"), "");
  EXPECT_EQ(VerifierOf("exact", "gsm8k"), "exact");
}

TEST(PromptTemplateTest, FillsFieldsAndNamesUnknownOnes) {
  const auto questions =
      ReadQuestions(kGsm8k, "q", {.layout = "gsm8k", .prompt_template = "Q: {{ question }}\nA:"});
  ASSERT_TRUE(questions.ok()) << questions.status();
  EXPECT_EQ(questions->front().prompt, "Q: Ann has 3 apples and buys 4. How many?\nA:");
  // Any text field of the line will do.
  const auto raw = ReadQuestions(kGsm8k, "q", {.layout = "gsm8k", .prompt_template = "{{answer}}"});
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(raw->front().prompt, "3+4=<<3+4=7>>7\n#### 7");
  // What a field holds is no template.
  EXPECT_EQ(*FillTemplate("{{a}}", {{"a", "{{b}}"}}), "{{b}}");
  EXPECT_THAT(std::string(FillTemplate("{{x}}", {{"a", ""}, {"b", ""}}).status().message()),
              HasSubstr("no field 'x'; there are: a b"));
  EXPECT_FALSE(FillTemplate("{{a", {{"a", ""}}).ok());
  // The newline that ends a file is no part of the prompt; others are.
  EXPECT_EQ(*FillTemplate("{{a}}\n\n", {{"a", "x"}}), "x\n");
}

TEST(PromptTemplateTest, TheProgramHoldsTheFileOfEachLayout) {
  const std::string folder = absl::StrCat(DTRPO_SOURCE_DIR, "/common/evaluation/templates/");
  for (const char* layout : {"gsm8k", "math", "gpqa", "mbpp", "livecodebench", "ifeval"}) {
    const auto file = base::PosixFileSystem()->Read(absl::StrCat(folder, layout, ".txt"));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT(*file, HasSubstr("{{")) << layout;
    EXPECT_EQ(DefaultTemplate(layout), *file);
  }
  EXPECT_EQ(DefaultTemplate("prompts"), "");
}

TEST(QuestionTest, CountsOnceInEachOfItsCategories) {
  const auto question = ParseQuestionLine(
      R"({"id": "é", "prompt": "p", "answer": "a", "category": ["x", "", "x", 7]})", "answer");
  ASSERT_TRUE(question.ok()) << question.status();
  EXPECT_THAT(question->categories, ElementsAre("x", "7"));
}

TEST(SpreadEvenlyTest, TakesQuestionsFromEverywhere) {
  std::vector<Question> questions(10);
  for (int i = 0; i < 10; ++i) questions[i].id = absl::StrCat(i);
  std::vector<std::string> ids;
  for (const Question& question : SpreadEvenly(questions, 3)) ids.push_back(question.id);
  EXPECT_THAT(ids, ElementsAre("0", "3", "6"));
  EXPECT_EQ(SpreadEvenly(questions, 0).size(), 10u);
}

}  // namespace
}  // namespace dtrpo::evaluation
