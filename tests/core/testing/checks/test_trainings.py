"""Small trainings with a balancer, and what tells two of them apart."""

from right_balancers import Adapting, NoMaps

from fusion.testing import BalancerSuite


def test_a_balancer_that_refuses_maps_is_not_tried_on_them():
    suite = type("TestIt", (BalancerSuite,), {"plugin": NoMaps})()
    assert {case.strategy.takes for case in suite.cases()} == {"embeddings"}
    suite = type("TestIt", (BalancerSuite,), {"plugin": Adapting})()
    assert {case.strategy.takes for case in suite.cases()} == {"embeddings", "maps"}
