"""Plants a forgotten member and sees that check_kept names it."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools"))
import check_kept  # noqa: E402

HEADER = """#pragma once
class Thing {
 public:
  explicit Thing(int limit) : limit_(limit) {}
  int count() const { return count_; }
  void Add(int what);
  // Not kept: cache_ (made anew).
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(count_, parts_);
  }

 private:
  enum class State { kOne, kTwo };
  struct Part {
    int number = 0;
    template <typename Archive>
    void Kept(Archive& archive) {
      archive(number);
    }
  };
  const int limit_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;  // of parts_
  std::map<std::string, Part, std::less<>> parts_;
  int cache_ = 0;
  EXTRA
};
"""


class CheckKeptTest(unittest.TestCase):
    def check(self, header: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / "thing.h").write_text(header)
            return check_kept.check(root)

    def test_accepts_a_class_that_lists_all(self):
        self.assertEqual(self.check(HEADER.replace("EXTRA", "")), [])

    def test_finds_a_forgotten_member(self):
        for member in ("int64_t forgotten_ = 0;", "std::optional<std::vector<int>> forgotten_;",
                       "mutable Rate forgotten_{1};", "std::string forgotten_ GUARDED;",
                       "State forgotten_ = State::kOne;"):
            if "GUARDED" in member:
                member = member.replace("GUARDED", "ABSL_GUARDED_BY(mutex_)")
            errors = self.check(HEADER.replace("EXTRA", member))
            self.assertEqual(len(errors), 1, (member, errors))
            self.assertIn("thing.h:26: Thing::forgotten_", errors[0])

    def test_believes_a_comment_beside_the_member(self):
        header = HEADER.replace("EXTRA", "int shown_ = 0;  // of the last call, not kept")
        self.assertEqual(self.check(header), [])

    def test_finds_one_in_a_nested_class(self):
        errors = self.check(HEADER.replace("EXTRA", "").replace("int number = 0;",
                                                               "int number = 0;\n    int other;"))
        self.assertIn("Part::other", errors[0])

    def test_finds_one_that_left_the_list(self):
        errors = self.check(HEADER.replace("EXTRA", "").replace("archive(count_, ", "archive("))
        self.assertIn("Thing::count_", errors[0])

    def test_leaves_classes_without_a_list_alone(self):
        self.assertEqual(self.check("#pragma once\nstruct Plain {\n  int x;\n};\n"), [])


if __name__ == "__main__":
    unittest.main()
