"""What a launcher (mpiexec, srun) puts into a process's environment, before MPI is imported."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import NamedTuple, Optional

# By launcher: a variable with the number of processes, and one with this one's rank. Slurm's come
# last: a launcher that runs in one of its steps sets its own beside them.
_LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, MVAPICH; srun --mpi=pmi2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("PALS_SIZE", "PALS_RANKID"),  # Cray
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun
)
_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PALS_", "HYDI_", "MPI_LOCAL", "SLURM_STEP_NUM_TASKS")


class Launch(NamedTuple):
    """How many processes were started together, and which one this is."""

    size: int
    rank: int


def launch(environ: MutableMapping[str, str] = os.environ) -> Optional[Launch]:
    """The launcher's variables; None for a process that was started alone."""
    for size, rank in _LAUNCHERS:
        if environ.get(size, "").isdecimal() and environ.get(rank, "").isdecimal():
            found = Launch(int(environ[size]), int(environ[rank]))
            return found if found.size > 1 else None
    return None


def forget(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove the launcher's variables: a child of this process is not one of the ranks."""
    for name in [name for name in environ if name.startswith(_PREFIXES)]:
        del environ[name]
