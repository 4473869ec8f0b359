"""The fast path for networks of one GRU or LSTM layer.

What the general trainer leaves to automatic differentiation is written by hand here: all time
steps share one product for the gradient of a weight, where automatic differentiation makes one
for each. Candidates can be stacked on a leading axis of all tensors.
"""

from ratchet.learning.recurrent.batched.group import train_group

__all__ = ["train_group"]
