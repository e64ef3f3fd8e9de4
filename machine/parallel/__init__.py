"""Several processes that work as one, by MPI: who they are, what they say to each other, how they share work.

One process is a world too, of one rank; for it MPI is neither needed nor imported.
"""
