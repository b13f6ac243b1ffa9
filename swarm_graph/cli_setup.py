import click


@click.command(epilog="Example: swarm-graph doctor")
def doctor():
    pass


@click.command(epilog="Example: swarm-graph init")
def init():
    pass
