"""The reward service over gRPC, with rewards that fail, hang, die and return no numbers."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

import user_rewards  # noqa: F401  registers its rewards
from dtrpo_rewards import RewardServer, registry, reward_pb2, reward_pb2_grpc

PATIENCE = 120  # seconds


class ServiceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RewardServer(workers=2, modules=["user_rewards"])
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.stub = reward_pb2_grpc.RewardServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.server.stop()

    def judge(self, name, answers, timeout=PATIENCE, **fields):
        items = [reward_pb2.RewardItem(id=str(i), answer=answer, **{"finished": True, **fields})
                 for i, answer in enumerate(answers)]
        response = self.stub.Judge(
            reward_pb2.JudgeRequest(reward=name, items=items), timeout=timeout)
        results = {result.id: result for result in response.results}
        return [results[str(i)] for i in range(len(answers))]

    def test_each_item_gets_its_own_reward(self):
        results = self.judge("length", [str(10**i) for i in range(50)])
        self.assertEqual([result.judgement.reward for result in results], list(range(1, 51)))
        right, wrong = self.judge("exact", ["7", "8"], expected="7")
        self.assertEqual((right.judgement.reward, right.judgement.correct), (1, True))
        self.assertEqual((wrong.judgement.reward, wrong.judgement.correct), (0, False))
        self.assertTrue(wrong.HasField("judgement"))

    def test_a_batch_function_gets_lists_up_to_its_size(self):
        results = self.judge("pairwise", ["a"] * 7)
        self.assertEqual([result.judgement.reward for result in results], [3] * 6 + [1])
        self.assertEqual(results[0].judgement.reason, "in a batch of 3")

    def test_what_fails_fails_alone_with_its_reason(self):
        results = self.judge("moody", ["a", "raise", "nan", "text", "none", "b"])
        self.assertEqual(results[0].judgement.reward, 0.5)
        self.assertEqual(results[5].judgement.reason, "fine")
        for result, words in zip(results[1:5], ("no mood", "nan, no number", "no number", "no number")):
            self.assertFalse(result.HasField("judgement"))
            self.assertIn(words, result.error)

    def test_a_reason_that_is_no_text_fails_nobody(self):
        odd, fine, error = self.judge("moody", ["odd words", "a", "odd error"])
        self.assertEqual((odd.judgement.reward, fine.judgement.reward), (0.5, 0.5))
        self.assertLessEqual(len(odd.judgement.reason), 500)
        self.assertIn("ValueError", error.error)

    def test_a_hung_or_dead_process_is_replaced_and_its_item_fails(self):
        before = self.server.pool.restarts
        hung, fine, died = self.judge("moody", ["hang", "a", "die"])
        self.assertIn("timed out after 2 s", hung.error)
        self.assertIn("died (exit code 3)", died.error)
        self.assertEqual(fine.judgement.reward, 0.5)
        self.assertGreaterEqual(self.server.pool.restarts - before, 2)
        self.assertEqual(self.judge("moody", ["a"] * 4)[3].judgement.reward, 0.5)

    def test_a_process_killed_from_outside_is_replaced(self):
        for pid in self.server.pool.pids():
            with contextlib.suppress(ProcessLookupError):  # one that is being replaced anyway
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(not r.HasField("judgement") for r in self.judge("length", ["a", "b", "c"])):
            self.assertLess(time.monotonic(), deadline)

    def test_a_call_that_runs_out_of_time_answers_with_what_it_has(self):
        results = self.judge("moody", ["hang"] * 2 + ["a"] * 2, timeout=1.5)
        self.assertEqual(len(results), 4)
        self.assertIn("before the call's deadline", results[0].error)

    def test_answers_without_a_stop_token_get_zero_unless_the_reward_wants_them(self):
        unfinished = self.judge("length", ["abc"], finished=False)[0]
        self.assertEqual((unfinished.judgement.reward, unfinished.judgement.reason),
                         (0, "no stop token"))
        self.assertEqual(self.judge("unfinished", ["abc"], finished=False)[0].judgement.reward, 0.25)

    def test_the_data_files_line_comes_along(self):
        self.assertEqual(self.judge("field", ["a"], data_json='{"points": 3}')[0].judgement.reward, 3)
        self.assertIn("KeyError", self.judge("field", ["a"], data_json="{}")[0].error)
        self.assertIn("data_json", self.judge("field", ["a"], data_json="[")[0].error)

    def test_calls_that_make_no_sense_are_refused(self):
        for request, code in (
                (reward_pb2.JudgeRequest(reward="no such"), grpc.StatusCode.NOT_FOUND),
                (reward_pb2.JudgeRequest(reward="length", items=[reward_pb2.RewardItem(id="a")] * 2),
                 grpc.StatusCode.INVALID_ARGUMENT),
                (reward_pb2.JudgeRequest(reward="length", items=[reward_pb2.RewardItem()] * 1025),
                 grpc.StatusCode.INVALID_ARGUMENT)):
            with self.assertRaises(grpc.RpcError) as raised:
                self.stub.Judge(request, timeout=PATIENCE)
            self.assertEqual(raised.exception.code(), code)

    def test_rewards_are_listed(self):
        listed = self.stub.ListRewards(reward_pb2.ListRewardsRequest(), timeout=PATIENCE).rewards
        self.assertIn(("length", "the answer's length"), [(r.name, r.description) for r in listed])


class ExampleTest(unittest.TestCase):
    FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "rewards"

    def test_the_examples_reward_is_the_nearer_the_better(self):
        sys.path.insert(0, str(self.FOLDER))
        import near_sum
        item = registry.Item(prompt="3+4", answer="6", expected="7", data={})
        self.assertEqual(near_sum.near_sum(item), registry.Judgement(0.5, False, "1 away"))

    def test_a_users_module_is_checked_against_the_packages_types(self):
        checked = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir",
             os.devnull, str(self.FOLDER / "near_sum.py")],
            env={**os.environ, "MYPYPATH": str(pathlib.Path(reward_pb2.__file__).parents[1])},
            capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


class StartTest(unittest.TestCase):
    def test_an_address_for_everybody_needs_certificates(self):
        with self.assertRaisesRegex(ValueError, "isn't loopback"):
            RewardServer("0.0.0.0:0")

    def test_two_rewards_of_one_name_are_refused(self):
        with self.assertRaisesRegex(ValueError, "already"):
            registry.reward("length")(lambda item: 0.0)

    def test_modules_are_served_from_the_command_line_until_sigterm(self):
        with tempfile.TemporaryDirectory() as folder:
            port_file = pathlib.Path(folder) / "port"
            process = subprocess.Popen(
                [sys.executable, "-m", "dtrpo_rewards", "user_rewards", "--workers", "1",
                 "--port-file", str(port_file)], cwd=os.path.dirname(__file__))
            try:
                deadline = time.monotonic() + PATIENCE
                while not port_file.exists():
                    self.assertIsNone(process.poll())
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
                with grpc.insecure_channel(port_file.read_text().strip()) as channel:
                    response = reward_pb2_grpc.RewardServiceStub(channel).Judge(
                        reward_pb2.JudgeRequest(reward="length", items=[
                            reward_pb2.RewardItem(id="a", answer="abc", finished=True)]),
                        timeout=PATIENCE)
                self.assertEqual(response.results[0].judgement.reward, 3)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(PATIENCE), 0)
            finally:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main()
