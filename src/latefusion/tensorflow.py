"""placeholder"""


def frozen_graph(model):
    raise NotImplementedError
