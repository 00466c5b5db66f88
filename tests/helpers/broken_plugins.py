"""Broken plugins, one per kind of fault, and the expected messages.

`BROKEN` has plugins that can't be loaded: text of the module, reason, hint. A :func:`running`
plugin has every kind that a run calls; it loads, and fails in the given way.
"""

from fusion.core.registry.registry import Registry

HEAD = """\
import torch
from fusion import Balancer, Branch, Extractor, Strategy, hookimpl
"""

SUM = (
    HEAD
    + """
class Sum(Strategy):
    '''Adds.'''

    name = "{name}"

    def __init__(self, dims, num_classes{more}):
        super().__init__()

@hookimpl
def {hook}({arguments}):
    {body}
"""
)


def a_sum(
    body="return [Sum]", name="their_sum", hook="fusion_strategies", arguments="", more="", top=""
):
    return top + SUM.format(body=body, name=name, hook=hook, arguments=arguments, more=more)


def a_balancer(line):
    return (
        HEAD
        + f"""
class Odd(Balancer):
    '''Does nothing.'''

    {line}

@hookimpl
def fusion_balancers():
    return [Odd]
"""
    )


HOOKS = (
    "fusion_corpora, fusion_extractors, fusion_branches, fusion_strategies, fusion_balancers, "
    "fusion_trackers, fusion_remedies"
)

BROKEN = {
    "import": (
        "import json\nimport nothing_of_that_name\n",
        "its import failed: ModuleNotFoundError: No module named 'nothing_of_that_name' "
        "(broken_import.py, line 2)",
        "Install the package with the module 'nothing_of_that_name'.",
    ),
    "syntax": (
        "def :\n",
        "its import failed: SyntaxError: invalid syntax (broken_syntax.py, line 1)",
        "Fix the plugin.",
    ),
    "exit": (
        "import sys\nsys.exit('no licence')\n",
        "its import failed: SystemExit: no licence (broken_exit.py, line 2)",
        "Fix the plugin.",
    ),
    "no_hook": (
        "x = 1\n",
        f"it has no function marked @hookimpl. Possible hooks: {HOOKS}.",
        "Write a hook that returns the plugin's classes; fusion plugins new makes an example.",
    ),
    "no_mark": (
        a_sum().replace("@hookimpl\n", ""),
        "its function fusion_strategies is not marked @hookimpl, so it registers nothing.",
        "Write @hookimpl (from fusion import hookimpl) above def fusion_strategies().",
    ),
    "signature": (
        a_sum(arguments="config"),
        "its hook fusion_strategies has an argument 'config', and the hook takes none.",
        "Write def fusion_strategies() instead.",
    ),
    "unknown_hook": (
        a_sum(hook="fusion_strategy"),
        "there is no hook 'fusion_strategy'. Did you mean 'fusion_strategies'? "
        f"Possible hooks: {HOOKS}.",
        "Rename the function.",
    ),
    "raises": (
        a_sum(body="return {}['key']"),
        "its hook fusion_strategies raised KeyError: 'key' (broken_raises.py, line 14)",
        "Fix the plugin.",
    ),
    "nothing": (
        a_sum(body="[Sum]"),
        "its hook fusion_strategies returned None, and must return a list of Strategy classes.",
        "Is a `return` missing?",
    ),
    "no_list": (
        a_sum(body="return Sum"),
        "its hook fusion_strategies returned the class Sum, and must return a list of Strategy "
        "classes.",
        "Write return [Sum].",
    ),
    "object": (
        a_sum(body="return [Sum({}, 2)]"),
        "its hook fusion_strategies returned a Sum, which is not a Strategy class.",
        "Return the class Sum, not an object of it.",
    ),
    "wrong_kind": (
        a_sum(hook="fusion_balancers"),
        "its hook fusion_balancers returned the class Sum, which is not a Balancer class.",
        "A strategy is registered by fusion_strategies.",
    ),
    "no_kind": (
        a_sum(body="return [int]"),
        "its hook fusion_strategies returned the class int, which is not a Strategy class.",
        "Write class int(Strategy).",
    ),
    "no_name": (
        a_balancer("version = '2'"),
        "its class Odd (of fusion_balancers) has no name.",
        'Write name = "..." in class Odd.',
    ),
    "odd_name": (
        a_balancer("name = 'My-Odd'"),
        "its class Odd (of fusion_balancers) is called 'My-Odd'; names are lower-case letters, "
        "digits and underscores.",
        "Rename it.",
    ),
    "reserved": (
        a_balancer("name = 'ensemble'"),
        "its class Odd (of fusion_balancers) can't be called 'ensemble': 'ensemble' is reserved.",
        "Rename it.",
    ),
    "parameter": (
        a_sum(more=", rate=0.5"),
        "its class Sum (of fusion_strategies) can't be used: Sum.__init__ has an argument 'rate' "
        "without annotation.",
        "Write its type: rate: float = 0.5.",
    ),
    "annotation": (
        a_sum(more=", rate: Float = 0.5", top="from __future__ import annotations\n"),
        "the parameters of its class Sum (of fusion_strategies) can't be read: NameError: name "
        "'Float' is not defined",
        "The annotations of __init__ must be names that its module has at run time.",
    ),
    "space": (
        a_balancer("name = 'odd'; space = {'rate': (0, 1)}"),
        "its class Odd (of fusion_balancers) can't be used: There is no parameter of Odd 'rate'. "
        "Known: none.",
        "Odd.space names it.",
    ),
    "no_dim": (
        HEAD
        + """
class Flat(Branch):
    name = "flat"

    def __init__(self, shape, dim):
        super().__init__(shape, dim)

@hookimpl
def fusion_branches():
    return [Flat]
""",
        "its class Flat (of fusion_branches) has no parameter 'dim', which fusion gives to every "
        "branch.",
        "Write it in __init__ with its type and a default: dim: int = 64.",
    ),
    "later": (
        a_sum(top="api_version = 2\n"),
        "it is written for version 2 of the plugin contract, and this fusion has version 1.",
        "Update fusion (pip install --upgrade modal-fusion).",
    ),
    "later_import": (
        "api_version = 2\nfrom fusion import NotYetThere\n",
        "it is written for version 2 of the plugin contract, and this fusion has version 1.",
        "Update fusion (pip install --upgrade modal-fusion).",
    ),
    "odd_version": (
        a_sum(top="api_version = 'two'\n"),
        "its api_version is 'two', which is not a version of the plugin contract.",
        "Write api_version = 1.",
    ),
}

RUNNING = """\
import numpy as np
import torch

from fusion import Balancer, Branch, Clip, Corpus, Extractor, ParameterError, Recording, Strategy
from fusion import Tracker, hookimpl

WAY = "..."


class TwoArguments(Exception):
    '''Can be pickled, and not be made again.'''

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Head(torch.nn.Module):
    '''A part of the strategy that is no plugin.'''

    def __init__(self, dim, num_classes):
        super().__init__()
        self.linear = torch.nn.Linear(dim, num_classes)

    def forward(self, x):
        if WAY == "helper raises" and self.training:
            raise RuntimeError("the helper fails")
        return self.linear(x)


class Sum(Strategy):
    '''Adds.'''

    name = "their_sum"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.head = Head(next(iter(dims.values())), num_classes)

    def forward(self, inputs):
        if WAY == "forward raises":
            raise RuntimeError("sizes do not match")
        if WAY == "raises late" and self.training:
            raise TwoArguments("one", "two")
        if WAY == "refuses" and self.training:
            raise ParameterError("Too few clips for their_sum.", hint="Take more.")
        scores = self.head(sum(inputs.values()))
        return scores[:, 1:] if WAY == "scores" and self.training else scores

    def modality_weights(self, inputs):
        return torch.ones(2, 5) if WAY == "weights" else None


class Odd(Balancer):
    '''Does nothing.'''

    name = "their_odd"

    def adapt(self, strategy, dims):
        return None if WAY == "adapt" else strategy

    def setup(self, context):
        if WAY == "setup raises":
            raise KeyError("mel")

    def gradients(self, gradients, step):
        if WAY == "gradients raises":
            raise ZeroDivisionError("division by zero")

    def inputs(self, inputs, step):
        if WAY != "inputs":
            return inputs

    def present(self, present, step):
        return present.float() if WAY == "present" else present

    def representations(self, representations, step):
        if WAY == "representations":
            return {m: z[1:] for m, z in representations.items()}
        return {"c": 1} if WAY == "modalities" else representations

    def logits(self, logits, step):
        return logits.sum() if WAY == "logits" else logits

    def losses(self, losses, step):
        return {**losses, "their_odd.x": 0.5} if WAY == "losses" else losses

    def passes(self, step):
        return ["a"] if WAY == "passes" else None

    def clips(self, clips, epoch):
        return clips.indices if WAY == "clips" else clips

    def stage(self, epoch):
        return "warm-up" if WAY == "stage" else None

    def parameter_groups(self, groups):
        if WAY != "parameter_groups":
            return groups

    def metrics(self):
        return {"their_odd.x": torch.ones(())} if WAY == "metrics" else {}

    def state_dict(self):
        return None if WAY == "state_dict" else {}


class Flat(Branch):
    '''A linear layer.'''

    name = "flat"

    def __init__(self, shape, dim: int = 8):
        super().__init__(shape, dim)
        self.map_channels = 4
        self.linear = torch.nn.Linear(4, dim - (WAY == "embedding"))

    def maps(self, x):
        maps = x.flatten(1)[:, :4]
        return maps if WAY == "maps" else maps[:, :, None]

    def pool(self, maps):
        return self.linear(maps.flatten(1))


class Pitch(Extractor):
    '''A number.'''

    name = "pitch"
    shape = (3,)

    def extract(self, recording):
        if WAY == "extract raises":
            return [][0]
        if WAY == "no array":
            return None
        return np.zeros(4 if WAY == "array" else 3)


class Own(Corpus):
    '''One clip.'''

    name = "own"
    needs_path = False

    @classmethod
    def detect(cls, path):
        if WAY == "detect raises":
            raise ValueError("what is this?")
        return False

    def clips(self):
        if WAY == "clips raises":
            raise KeyError("label")
        if WAY == "no clips":
            return None
        clip = Clip(Recording("a.wav"), "a", "happy", "s", "theirs" if WAY == "corpus" else "own")
        return ["a.wav"] if WAY == "text" else [clip]


class Lines(Tracker):
    '''Writes.'''

    name = "lines"

    def epoch(self, event):
        raise ConnectionError("no network")


@hookimpl
def fusion_strategies():
    return [Sum]


@hookimpl
def fusion_balancers():
    return [Odd]


@hookimpl
def fusion_branches():
    return [Flat]


@hookimpl
def fusion_extractors():
    return [Pitch]


@hookimpl
def fusion_corpora():
    return [Own]


@hookimpl
def fusion_trackers():
    return [Lines]
"""


def running(way):
    """Return the text of a plugin that fails in a way of `RUNNING`; ``"none"`` means no failure."""
    return RUNNING.replace('"..."', repr(way), 1)


def broken_registry(way, folder):
    """Return a registry with a plugin ``mine.py`` in `folder` that fails in the given way."""
    file = folder / "mine.py"
    file.write_text(running(way))
    return Registry([str(file)])


def said(error, folder):
    """Return the whole message without the folder of the test."""
    return str(error).replace(f"{folder}/", "")
