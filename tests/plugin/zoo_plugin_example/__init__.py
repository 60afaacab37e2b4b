"""One attack, defense, metric, dataset and network, each as small as it can be: copy what you need.

`pyproject.toml` names each under an entry point, and nothing else is needed: every command of zoo
and harness finds them as soon as the package is installed. `harness doctor` looks at each of them.
"""
