"""The rewards that come with dtrpo_rewards, each against its library's own verdict."""

import base64
import os
import pickle
import unittest
import zlib

import math_verify

from dtrpo_rewards import code_rewards, ifeval_rewards, math_rewards, packed_cases
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

    def test_answers_that_reach_for_the_tests_pass_nothing(self):
        always = "class Yes:\n    __eq__ = lambda *_: True\n    __call__ = lambda *_: Yes()\n"
        for name, answer in {
            "a value equal to everything": always + "add = lambda a, b: Yes()",
            "a number equal to everything":
                "class Yes(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\n"
                "def add(a, b): return Yes(7)",
            "compile and exec replaced":
                "import builtins\nbuiltins.compile = lambda *a, **k: 'pass'\n"
                "builtins.exec = lambda *a: None\ndef add(a, b): return 7",
            "builtins of the tests' names": always + "def set(x): return 1\nadd = set",
            "the harness's own frame":
                "import sys\nframe = sys._getframe()\nwhile frame:\n"
                "  for one in list(frame.f_locals.values()):\n"
                "    if hasattr(one, 'send'): one.send({'outcomes': ['', '']})\n"
                "  frame = frame.f_back\ndef add(a, b): return 7",
            "every open file written to":
                "import os\nfor n in range(3, 64):\n"
                "  try: os.write(n, b'\\n{\"outcomes\": [\"\", \"\"]}\\n')\n"
                "  except OSError: pass\ndef add(a, b): return 7",
            "the other sandbox's process":
                "import os, glob, signal\nfor p in glob.glob('/proc/[0-9]*'):\n"
                "  if 'tests' in open(p + '/cmdline').read(): os.kill(int(p[6:]), signal.SIGKILL)\n"
                "def add(a, b): return 7",
            "an endless value": "def add(a, b): return 'x' * (100 << 20)",
        }.items():
            with self.subTest(name):
                judged = code_rewards.code(item(answer, test_list=[
                    "assert add(1, 2) == 3", "assert set([add(0, 0)]) == set([0])"]))
                self.assertEqual((judged.reward, judged.correct), (0, False), judged.reason)

    def test_values_of_every_kind_and_objects_come_back_as_they_are(self):
        answer = """
import collections, math
Point = collections.namedtuple("Point", "x y")
class Node:
    def __init__(self, value): self.value, self.next = value, None
    def __len__(self): return 0
def same(x): return x
def sort(xs): xs.sort()
def length(node): return 1 + length(node.next) if node is not None else 0
def count(xs): return collections.Counter(xs)
def squares(n): return (i * i for i in range(n))
def fail(): raise KeyError("no")
def sum(a, b): return a - b
"""
        tests = [
            "for x in (None, True, 1, 1 << 20000, 1.5, float('inf'), 'a\\ud800', b'b', 1j, [1], (1, (2,)),"
            " {1, 2}, frozenset([1]), {1: [2], (3,): 'x'}):\n"
            "  assert same(x) == x and type(same(x)) is type(x), x",
            "assert math.isnan(same(float('nan')))",
            "xs = [3, 1]; sort(xs); assert xs == [1, 3]",
            "a = Node(1); a.next = Node(2); assert length(a) == 2 and a.next.value == 2 and not a",
            "assert Point(1, 2) == (1, 2) and count('aab') == {'a': 2, 'b': 1}",
            "assert list(squares(4)) == [0, 1, 4, 9]",
            "try: fail()\nexcept KeyError as error: assert 'no' in str(error)\nelse: assert False",
            "assert sum(5, 3) == 2",
        ]
        judged = code_rewards.code(item(answer, test_list=tests, code="def sum(a, b):\n  pass"))
        self.assertTrue(judged.correct, judged.reason)

    def test_tests_that_cant_be_run_are_an_error_and_no_zero(self):
        for test in ("import no_such_module", "assert (", "assert f(lambda x: x) == 1"):
            with self.subTest(test), self.assertRaisesRegex(ValueError, "tests can't be run"):
                code_rewards.code(item("def f(x): return 1", test_list=[test]))
        # What the answer itself lacks is the answer's fault.
        judged = code_rewards.code(item("def f(): import no_such_module", test_list=["f()"]))
        self.assertEqual(judged.reward, 0)


class PackedCasesTest(unittest.TestCase):
    """As livecodebench/code_generation_lite packs private_test_cases."""

    CASES = '[{"input": "", "output": "1", "testtype": "stdin"}]'

    def pack(self, pickled: bytes) -> str:
        return base64.b64encode(zlib.compress(pickled)).decode()

    def test_a_pickled_string_is_read_in_every_protocol_that_has_one(self):
        for protocol in range(1, pickle.HIGHEST_PROTOCOL + 1):
            for text in (self.CASES, "é" * 300, "x" * 100_000):
                self.assertEqual(packed_cases.unpack(self.pack(pickle.dumps(text, protocol))), text)
        self.assertTrue(code_rewards.code(
            item("print(1)", private_test_cases=self.pack(pickle.dumps(self.CASES)))).correct)

    def test_whatever_is_anything_else_is_refused(self):
        class Evil:
            def __reduce__(self):
                return (os.abort, ())

        good = pickle.dumps(self.CASES)
        whole = zlib.compress(good)
        for packed, why in [
            (self.pack(pickle.dumps(Evil())), "opcode STACK_GLOBAL"),
            (self.pack(pickle.dumps(Evil(), 0)), "opcode GLOBAL"),
            (self.pack(b"cos\nabort\n(tR."), "opcode GLOBAL"),
            (self.pack(pickle.dumps([self.CASES])), "opcode"),
            (self.pack(pickle.dumps(b"[]")), "opcode SHORT_BINBYTES"),
            (self.pack(good[:-1] + good), "2 strings|no pickled string"),
            (self.pack(b"\x80\x04."), "0 strings"),
            (self.pack(b"\x80\x04\x8d" + b"\xff" * 8 + b"a."), "no pickled string"),
            (self.pack(good[:20]), "no pickled string"),
            (self.pack(b""), "no pickled string"),
            (base64.b64encode(whole[:-3]).decode(), "cut off"),
            (base64.b64encode(whole + b"more").decode(), "something behind"),
            (base64.b64encode(b"no zlib").decode(), "packed test cases"),
            ("no base64!", "packed test cases"),
            (self.pack(b"x" * (packed_cases.MAX_BYTES + 1)), "more than"),
        ]:
            with self.subTest(why=why), self.assertRaisesRegex(ValueError, why):
                packed_cases.unpack(packed)

    def test_cases_of_another_shape_are_an_error_and_no_zero(self):
        for cases in ('{"input": ""}', '[1]', '[{"input": 1, "output": ""}]', '[{"input": ""}]'):
            with self.subTest(cases), self.assertRaises(ValueError):
                code_rewards.code(item("x = 1", private_test_cases=self.pack(pickle.dumps(cases))))


if __name__ == "__main__":
    unittest.main()
