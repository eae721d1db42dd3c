"""How methods and data sets are written in figures."""

#: Of methods, by their name in the configuration. A method that is not here is written as that.
METHODS = {
    "2bald": "2-BALD",
    "3bald": "3-BALD",
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "conservative_bald": "conservative, up to",
    "dynamic_bald": "dynamic, up to",
    "positive_bald": "positive gains, up to",
    "random": "random",
}

#: Of data sets, by their name in the configuration. A data set that is not here is written as that.
DATA_SETS = {
    "digits": "digits",
    "emnist": "EMNIST",
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "repeated_mnist": "Repeated MNIST",
}


def method_name(key: str) -> str:
    """How a method is written."""
    return METHODS.get(key, key)


def data_set_name(key: str) -> str:
    """How a data set is written."""
    return DATA_SETS.get(key, key)
