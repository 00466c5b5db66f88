"""Plugin files: one with two plugins, one that can't be imported, one with a duplicate name."""

PLUGIN = '''
"""Plugins of a test."""
from fusion import Balancer, Strategy, hookimpl
from torch import nn

api_version = 1
__version__ = "0.3"

class Added(Strategy):
    """Adds scores."""
    name = "added"
    version = "7"
    def __init__(self, dims, num_classes, factor: float = 1.0):
        super().__init__()
        self.factor = factor
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})
    def forward(self, inputs):
        return self.factor * sum(self.heads[m](inputs[m]) for m in self.heads)

class Nested(Balancer):
    """Calls the strategy in its own hook."""
    name = "nested"
    def losses(self, losses, step):
        step.fuse(step.modalities[:1])
        return losses

@hookimpl
def fusion_strategies():
    return [Added]

@hookimpl
def fusion_balancers():
    return [Nested]
'''

BROKEN = "import no_such_package_at_all\n"
CLASH = """
from fusion import Strategy, hookimpl
class Gated(Strategy):
    name = "gated"
@hookimpl
def fusion_strategies():
    return [Gated]
"""
