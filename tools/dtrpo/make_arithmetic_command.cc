#include "tools/dtrpo/make_arithmetic_command.h"

#include <algorithm>
#include <iostream>
#include <vector>

#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "tools/arithmetic/arithmetic_data.h"

namespace dtrpo::tools {
namespace {

constexpr char kHelp[] = R"(Additions of two numbers from 0 to 99, one JSON line each:
  {"id": "47+8", "prompt": "47+8=", "answer": "55"}
DIR/heldout.jsonl gets the tenth that a hash of the numbers picks, DIR/train.jsonl the rest: the
same files every time. DIR/pairs.jsonl has the rest as preference pairs with a wrong answer each,
for `dtrpo train`. With --words the sums are word problems: DIR/words_heldout.jsonl in the layout of
GSM8K, for `dtrpo eval --layout gsm8k`, and DIR/words_train.jsonl as prompts for `dtrpo sft`.

Example: dtrpo make-arithmetic --output DIR)";

}  // namespace

void MakeArithmeticCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  app->add_option("--output", output_path_, "folder for train.jsonl, heldout.jsonl and pairs.jsonl")
      ->required()
      ->type_name("DIR");
  app->add_flag("--words", words_, "word problems as well");
}

absl::Status MakeArithmeticCommand::Run() {
  base::FileSystem* const files = base::PosixFileSystem();
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(output_path_));
  const std::vector<ArithmeticProblem> problems = ArithmeticProblems();
  for (const bool heldout : {false, true}) {
    const std::string path =
        base::JoinPath(output_path_, heldout ? "heldout.jsonl" : "train.jsonl");
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, path, ArithmeticLines(problems, heldout)));
  }
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(
      files, base::JoinPath(output_path_, "pairs.jsonl"), ArithmeticPairLines(problems)));
  if (words_) {
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, base::JoinPath(output_path_, "words_heldout.jsonl"),
                                  WordProblemLines(problems, /*heldout=*/true)));
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, base::JoinPath(output_path_, "words_train.jsonl"),
                                  WordPromptLines(problems, /*heldout=*/false)));
  }
  const auto heldout = std::count_if(problems.begin(), problems.end(),
                                     [](const ArithmeticProblem& p) { return p.heldout; });
  std::cerr << "make-arithmetic: train=" << problems.size() - heldout << " heldout=" << heldout
            << " output=" << output_path_ << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
