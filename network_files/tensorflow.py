class TensorFlowNetwork:
    def __setstate__(self, state):
        self.__dict__.update(state)


def convert(networks):
    raise ValueError("not yet")
