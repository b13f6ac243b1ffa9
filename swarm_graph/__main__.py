"""`python -m swarm_graph` is `swarm-graph`."""

from swarm_graph.cli import main

main()
