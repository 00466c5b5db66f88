"""Replacement of a training step, for values by hand; clips have every modality."""

from types import SimpleNamespace


class StandIn(SimpleNamespace):
    presence = None
    has_modality = None

    @property
    def batch_modalities(self):
        for name in ("modalities", "unimodal", "embeddings"):
            if hasattr(self, name):
                return list(getattr(self, name))
        return list(self.scores())

    def rows(self, modality, of):
        return of

    def sees(self, modalities):
        return None
