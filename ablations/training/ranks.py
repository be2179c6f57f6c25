"""The processes that train one trial together: where each stands, and how Lightning is told."""

import socket
from dataclasses import dataclass

from lightning_fabric.plugins import ClusterEnvironment


@dataclass(frozen=True)
class Rank:
    """A process, of so many in all and on each node, that meet at the first one's address."""

    number: int = 0
    size: int = 1
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0


ALONE = Rank()


class RankEnvironment(ClusterEnvironment):
    """Tells Lightning of processes that are there already."""

    creates_processes_externally = True

    def __init__(self, rank: Rank) -> None:
        self.rank = rank

    @property
    def main_address(self) -> str:
        return self.rank.address

    @property
    def main_port(self) -> int:
        return self.rank.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.rank.size

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return self.rank.number

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return self.rank.number % self.rank.local_size

    def node_rank(self) -> int:
        return self.rank.number // self.rank.local_size


def find_port() -> int:
    """One that is free on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
