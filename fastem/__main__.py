"""``python -m fastem``."""

import argparse

from fastem.commands import compile, info


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fastem", description="Clustering by EM.")
    commands = parser.add_subparsers(title="commands", required=True)
    what = "print versions, CPU, threads and cache: what a bug report needs"
    command = commands.add_parser("info", help=what, description=what.capitalize())
    command.set_defaults(run=info.run)
    what = "compile kernels into the cache, so that no fit has to"
    command = commands.add_parser("compile", help=what, description=what.capitalize())
    compile.add_options(command)
    command.set_defaults(run=compile.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
