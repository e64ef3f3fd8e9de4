"""How fast the models run, side by side with PyTorch.

``python -m benchmarks`` measures all and writes docs/performance.md. ``rows`` declares what is
measured, ``harness`` runs two processes by turns, which speak as in ``protocol``: ``worker`` runs
this project, ``torch_worker`` the PyTorch models of ``torch_twin`` and ``torch_hierarchical``.
"""
