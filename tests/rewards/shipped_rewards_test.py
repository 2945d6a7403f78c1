"""The rewards that come with dtrpo_rewards, each against its library's own verdict."""

import unittest

import math_verify

from dtrpo_rewards import code_rewards, ifeval_rewards, math_rewards
from dtrpo_rewards.registry import Item


def item(answer: str, expected: str = "", **data) -> Item:
    return Item(prompt=data.get("prompt", ""), answer=answer, expected=expected, data=data)


class MathTest(unittest.TestCase):
    CASES = [  # expected, answer, right
        ("\\frac{1}{2}", "so it is \\boxed{0.5}", True),
        ("1/2", "the answer is $\\frac{2}{4}$", True),
        ("x+1", "$1+x$", True),
        ("$(x+1)^2$", "\\boxed{x^2+2x+1}", True),
        ("\\boxed{12}", "it is 12", True),
        ("72", "She sold 48+24 = 72 clips. \\boxed{72}", True),
        ("7", "\\boxed{8}", False),
        ("x+1", "$x-1$", False),
        ("(1,2)", "$(2,1)$", False),
        ("\\sqrt{2}", "$1.41$", False),
    ]

    def test_says_what_math_verify_says(self):
        for expected, answer, right in self.CASES:
            with self.subTest(expected=expected, answer=answer):
                judgement = math_rewards.math(item(answer, expected))
                gold = expected if "$" in expected or "\\boxed" in expected else f"${expected}$"
                self.assertEqual(judgement.correct,
                                 math_verify.verify(math_verify.parse(gold), math_verify.parse(answer)))
                self.assertEqual(judgement.correct, right)
                self.assertEqual(judgement.reward, float(right))
                self.assertTrue(judgement.reason)

    def test_an_expected_answer_without_an_expression_is_an_error_and_no_zero(self):
        with self.assertRaisesRegex(ValueError, "holds no expression"):
            math_rewards.math(item("7", ""))

    def test_an_answer_without_an_expression_is_wrong(self):
        self.assertEqual(math_rewards.math(item("I don't know", "7")).reward, 0)


class IfevalTest(unittest.TestCase):
    CASES = [  # instruction, its arguments, an answer that follows it, one that doesn't
        ("punctuation:no_comma", {}, "No pause here", "Here, a pause"),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 4},
         "one two three four", "one two"),
        ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 3},
         "Dr. Smith came. He left.", "One. Two. Three. Four."),
        ("keywords:existence", {"keywords": ["alpha", "beta"]}, "alpha and beta", "alpha only"),
        ("keywords:forbidden_words", {"forbidden_words": ["never"]}, "always", "never"),
        ("keywords:frequency", {"keyword": "so", "frequency": 2, "relation": "at least"},
         "so and so", "so"),
        ("change_case:english_lowercase", {}, "this is all in lower case words",
         "This is Not in lower case words"),
        ("change_case:capital_word_frequency",
         {"capital_relation": "at least", "capital_frequency": 2}, "NOW we SHOUT", "we whisper"),
        ("detectable_format:title", {}, "<<A title>>\ntext", "A title\ntext"),
        ("detectable_format:json_format", {}, '{"a": 1}', "a: 1"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a"),
        ("startend:quotation", {}, '"quoted"', "plain"),
        ("startend:end_checker", {"end_phrase": "The end."}, "It was. The end.", "It was."),
        ("language:response_language", {"language": "de"},
         "Das ist ein deutscher Satz mit vielen Wörtern.", "This is plainly an English sentence."),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Text\nP.S. more", "Text"),
    ]

    def test_says_what_lm_evals_checks_say(self):
        registry = ifeval_rewards._CHECKS.instructions_registry.INSTRUCTION_DICT
        for name, arguments, good, bad in self.CASES:
            for answer, follows in ((good, True), (bad, False)):
                with self.subTest(instruction=name, answer=answer):
                    check = registry[name](name)
                    check.build_description(**arguments)
                    self.assertEqual(bool(check.check_following(answer)), follows)
                    judgement = ifeval_rewards.ifeval(
                        item(answer, instruction_id_list=[name], kwargs=[arguments]))
                    self.assertEqual((judgement.reward, judgement.correct), (float(follows), follows))

    def test_the_reward_is_the_share_that_is_followed_and_right_is_all(self):
        data = {"instruction_id_list": ["punctuation:no_comma", "detectable_format:title"],
                "kwargs": [{}, {}]}
        judgement = ifeval_rewards.ifeval(item("no title", **data))
        self.assertEqual((judgement.reward, judgement.correct), (0.5, False))
        self.assertIn("detectable_format:title", judgement.reason)
        self.assertTrue(ifeval_rewards.ifeval(item("<<title>> text", **data)).correct)

    def test_loose_forgives_markup_and_a_first_line(self):
        data = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
        answer = 'Sure:\n"quoted"'
        self.assertFalse(ifeval_rewards.ifeval(item(answer, **data)).correct)
        self.assertTrue(ifeval_rewards.ifeval_loose(item(answer, **data)).correct)

    def test_a_line_that_is_none_of_ifeval_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "instruction_id_list"):
            ifeval_rewards.ifeval(item("text"))
        with self.assertRaisesRegex(ValueError, "unknown instruction"):
            ifeval_rewards.ifeval(item("text", instruction_id_list=["no:such"], kwargs=[{}]))


class CodeTest(unittest.TestCase):
    MBPP = {"test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]}

    def test_right_is_what_passes_every_assert(self):
        right = "Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."
        self.assertEqual(code_rewards.code(item(right, **self.MBPP)).reward, 1)
        wrong = code_rewards.code(item("def add(a, b): return a * b", **self.MBPP))
        self.assertEqual((wrong.reward, wrong.correct), (0, False))
        self.assertIn("1 of 2 tests passed", wrong.reason)

    def test_a_whole_test_script_is_run_as_mbpp_plus_has_it(self):
        data = {"test_list": ["assert False"], "test_imports": ["import math"],
                "test": "for i in range(5):\n    assert root(i * i) == i == math.isqrt(i * i)\n"}
        self.assertTrue(code_rewards.code(item("def root(n): return int(n ** .5)", **data)).correct)
        self.assertFalse(code_rewards.code(item("def root(n): return n", **data)).correct)

    def test_standard_input_and_calls_as_livecodebench_has_them(self):
        stdin = {"public_test_cases": '[{"input": "1 2\\n", "output": "3\\n", "testtype": "stdin"},'
                                      ' {"input": "5 5\\n", "output": "10\\n", "testtype": "stdin"}]'}
        self.assertTrue(code_rewards.code(
            item("print(sum(map(int, input().split())))", **stdin)).correct)
        self.assertFalse(code_rewards.code(item("print(3)", **stdin)).correct)
        calls = {"metadata": '{"func_name": "add"}', "public_test_cases":
                 '[{"input": "1\\n[2]", "output": "[1, 2]", "testtype": "functional"}]'}
        self.assertTrue(code_rewards.code(item(
            "class Solution:\n    def add(self, a: int, b: List[int]): return [a] + b",
            **calls)).correct)

    def test_cheap_tricks_pass_nothing(self):
        for answer in ("import os; os._exit(0)", "import sys; sys.exit(0)",
                       "print('[\"\", \"\"]')\nimport os; os.write(1, b'[\"\", \"\"]'); os._exit(0)",
                       "raise SystemExit", "while True: pass", ""):
            with self.subTest(answer=answer):
                self.assertEqual(code_rewards.code(item(answer, **self.MBPP)).reward, 0)

    def test_a_line_without_tests_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "has no tests"):
            code_rewards.code(item("def f(): pass"))

    def test_packed_cases_that_are_more_than_text_are_refused(self):
        import base64, os, pickle, zlib  # noqa: E401

        class Evil:
            def __reduce__(self):
                return (os.getpid, ())

        packed = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
        with self.assertRaises(pickle.UnpicklingError):
            code_rewards.code(item("x = 1", private_test_cases=packed))
        text = '[{"input": "", "output": "1", "testtype": "stdin"}]'
        packed = base64.b64encode(zlib.compress(pickle.dumps(text))).decode()
        self.assertTrue(code_rewards.code(item("print(1)", private_test_cases=packed)).correct)


if __name__ == "__main__":
    unittest.main()
