"""Use cases side by side: how ``kedro run`` runs several of them.

Most nodes of a use case keep all cores busy and some only one, such as those that draw, choose and
release. Two use cases at a time fill each other's gaps.

Each use case runs in a process of its own, node after node in the usual order: nothing that a node
sees is different, and what it leaves in memory is there for the next one. That process shares
nothing with this one but what it sends: log records and the state of its bars.
"""

from ratchet.runner.use_cases import UseCaseRunner

__all__ = ["UseCaseRunner"]
