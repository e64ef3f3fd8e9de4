"""Several processes that work as one, by MPI. One process is a world too, and needs no MPI."""
