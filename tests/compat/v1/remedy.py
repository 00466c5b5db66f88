# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
# ruff: noqa: RUF012
"""Two remedies: one that always says the same, one that looks at the patient."""

from fusion import Patient, Prescription, Remedy, hookimpl


class Slower(Remedy):
    """Smaller steps."""

    name = "v1_slower"
    order = 3
    mends = ("overfitting",)
    settings = {"train": {"lr": 1e-4}}


class Plainer(Remedy):
    """The plain strategy."""

    name = "v1_plainer"
    strategy = "concat"

    def prescribe(self, patient: Patient) -> Prescription | None:
        if patient.strategy == "concat" or not patient.branches:
            return None
        return Prescription("concat", (), branches={}, settings={})


@hookimpl
def fusion_remedies():
    return [Slower, Plainer]
