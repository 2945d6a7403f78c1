"""Runs inside two sandboxes: unit tests in one, the code they test in the other.

usage: in_sandbox.py tests|answer

The verdict is made where the answer's code never runs. Its functions are there as stand-ins that
ask the other sandbox, one JSON line each way over a pipe, and get plain data back; whatever isn't
plain data stays there and gets a stand-in, too. So an answer can return values and do nothing else.

  tests -> answer   {"do": "call" | "get" | "set" | "list" | "true", "object": N, ...}
  answer -> tests   first {"names": {NAME: value}}, then {"value": V, "changed": [V or null, ...]};
                    instead of either {"error": [TYPE, TEXT]}

/task/task.json: {"setup", "answer"} or {"setup", "tests": [source], "replaces": [builtin names]}.
The tests' side ends with one line on stderr: {"outcomes": ["" or why it failed]}, or {"broken": why}
if the tests themselves can't be run.
"""

import builtins
import importlib
import itertools
import json
import os
import sys
import types

LINE_BYTES = 16 << 20
LIST_ITEMS = 1_000_000
PLAIN = (type(None), bool, int, float, str)
CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class Broken(Exception):
    """It isn't the answer's fault."""


def pack(value, keep):
    """As JSON; `keep` gives the number of what is no plain data."""
    if isinstance(value, PLAIN):
        return value
    for kind, container in CONTAINERS.items():
        if isinstance(value, container):
            return {kind: [pack(one, keep) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key, keep), pack(one, keep)] for key, one in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if hasattr(value, "tolist"):  # numpy's
        return pack(value.tolist(), keep)
    return {"object": keep(value)}


def unpack(value, object_of):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in CONTAINERS:
        return CONTAINERS[kind](unpack(one, object_of) for one in content)
    if kind == "dict":
        return {unpack(key, object_of): unpack(one, object_of) for key, one in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    return object_of(content)


class Pipe:
    """This process's stdin and stdout, which its code can't use any more."""

    def __init__(self):
        self._input, self._output = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        sys.set_int_max_str_digits(0)

    def send(self, message):
        self._output.write(json.dumps(message).encode() + b"\n")
        self._output.flush()

    def receive(self):
        line = self._input.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise EOFError("too long a value" if line else "the answer's process ended")
        return json.loads(line)


def serve_answer(task):
    """Never returns while the tests' side is there."""
    pipe = Pipe()
    objects = []

    def keep(value):
        objects.append(value)
        return len(objects) - 1

    def changed(before, arguments):
        for packed, argument in zip(before, arguments):
            mutable = isinstance(argument, (list, dict, set))
            after = pack(argument, keep) if mutable else None
            yield after if mutable and after != packed else None

    def answer(request):
        target = objects[request["object"]]
        if request["do"] == "get":
            return {"value": pack(getattr(target, request["name"]), keep)}
        if request["do"] == "true":
            return {"value": bool(target)}
        if request["do"] == "list":
            return {"value": pack(list(itertools.islice(iter(target), LIST_ITEMS)), keep)}
        given = unpack(request["arguments"], objects.__getitem__)
        if request["do"] == "set":
            setattr(target, request["name"], given[0])
            return {"value": None}
        before = [pack(one, keep) for one in given]
        value = target(*given, **unpack(request["keywords"], objects.__getitem__))
        return {"value": pack(value, keep), "changed": list(changed(before, given))}

    def name_of(value):
        return {"module": value.__name__} if isinstance(value, types.ModuleType) else pack(value, keep)

    def names():
        space = {"__name__": "answer"}
        exec(compile(task["setup"], "setup", "exec"), space)
        exec(compile(task["answer"], "answer", "exec"), space)
        return {"names": {name: name_of(one) for name, one in list(space.items())
                          if not name.startswith("__")}}

    def guarded(function, *arguments):
        try:
            return function(*arguments)
        except BaseException as error:
            return {"error": [type(error).__name__, str(error)[:200]]}

    pipe.send(guarded(names))
    while True:
        pipe.send(guarded(answer, pipe.receive()))


class StandIn:
    """Of an object in the answer's process."""

    def __init__(self, ask, number):
        self.__dict__.update(_ask=ask, _number=number)

    def __call__(self, *arguments, **keywords):
        return self._ask("call", self, arguments, keywords)

    def __getattr__(self, name):
        return self._ask("get", self, name=name)

    def __setattr__(self, name, value):
        self._ask("set", self, (value,), name=name)

    def __iter__(self):
        return iter(self._ask("list", self))

    def __bool__(self):
        return self._ask("true", self)

    def __len__(self):
        try:
            return self.__getattr__("__len__")()
        except AttributeError as error:  # list() asks also what has no length
            raise TypeError(str(error)) from None

    def __getitem__(self, key):
        return self.__getattr__("__getitem__")(key)

    def __str__(self):
        return self.__getattr__("__str__")()


def _raise(kind, text):
    found = getattr(builtins, str(kind), None)
    error = RuntimeError(f"{kind}: {text}")
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            error = found(text)
        except TypeError:  # it takes more than a text
            pass
    error.by_answer = True
    raise error


def run_tests(task):
    """What to tell."""
    verdict = os.fdopen(os.dup(2), "w")
    pipe = Pipe()

    def stand_in(number):
        return StandIn(ask, number)

    def number_of(value):
        if isinstance(value, StandIn):
            return value._number
        raise Broken(f"a test gives the answer a {type(value).__name__}, which can't be sent")

    def put(argument, value):
        if isinstance(argument, list) and isinstance(value, list):
            argument[:] = value
        elif isinstance(argument, (dict, set)) and type(argument) is type(value):
            argument.clear()
            argument.update(value)

    def ask(do, target, arguments=(), keywords=None, name=""):
        pipe.send({"do": do, "object": target._number, "name": name,
                   "arguments": pack(list(arguments), number_of),
                   "keywords": pack(keywords or {}, number_of)})
        got = pipe.receive()
        if "error" in got:
            _raise(*got["error"])
        for argument, after in zip(arguments, got.get("changed", ())):
            if after is not None:
                put(argument, unpack(after, stand_in))
        return unpack(got["value"], stand_in)

    def take(space, names):
        # What the tests use to compare isn't the answer's to define.
        taken = (set(dir(builtins)) - set(task["replaces"])) | set(space)
        for name, value in names.items():
            if name in taken or name.startswith("__"):
                continue
            if isinstance(value, dict) and "module" in value:
                if value["module"] in sys.stdlib_module_names:
                    space[name] = importlib.import_module(value["module"])
            else:
                space[name] = unpack(value, stand_in)

    def run(source, space, what):
        try:
            exec(compile(source, what, "exec"), space)
        except (Broken, SyntaxError, ImportError) as error:
            if hasattr(error, "by_answer"):
                raise
            raise Broken(f"{what}: {type(error).__name__}: {error}") from None

    def outcomes():
        space = {"__name__": "tests"}
        run(task["setup"], space, "the tests' setup")
        got = pipe.receive()
        if "error" in got:
            return ["the answer: " + ": ".join(map(str, got["error"]))] * len(task["tests"])
        take(space, got["names"])
        results = []
        for test in task["tests"]:
            try:
                run(test, space, "a test")
                results.append("")
            except Broken:
                raise
            except BaseException as error:
                results.append(f"{type(error).__name__}: {error}"[:200])
        return results

    try:
        told = {"outcomes": outcomes()}
    except EOFError as error:
        told = {"outcomes": [f"the answer: {error}"] * len(task["tests"])}
    except Broken as error:
        told = {"broken": str(error)[:300]}
    verdict.write(json.dumps(told) + "\n")
    verdict.flush()
    os._exit(0)


if __name__ == "__main__":
    with open("/task/task.json", encoding="utf-8", errors="surrogatepass") as _file:
        _task = json.load(_file)
    {"tests": run_tests, "answer": serve_answer}[sys.argv[1]](_task)
