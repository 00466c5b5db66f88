import numpy as np
import pytest
import torch

from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_subsets(strategy):
    trainer = small_trainer([], 3, strategy=strategy)
    context, model = trainer.context, trainer.model
    plain = context.outputs("train")
    assert plain.subsets == {}
    known = context.outputs("train", subsets=True)
    assert context.outputs("train") is known  # one pass serves both
    assert len(known.subsets) == 8
    a, b, c = model.modalities
    assert torch.allclose(known.subsets[a, b, c], known.logits)
    assert torch.equal(known.logits, plain.logits)
    # The strategies are additive: what is shown of two is that of each, less that of none.
    parts = known.subsets[a,] + known.subsets[c,] - known.subsets[()]
    assert torch.allclose(known.subsets[a, c], parts, atol=1e-5)
    assert np.array_equal(known.indices, trainer.train)
    one_step(trainer)
    assert not torch.equal(context.outputs("train").logits, known.logits)
